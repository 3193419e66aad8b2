"""The first rows of a catalog as a survey reads them, to see whether its columns are the right ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from gzflow.catalog.columns import column_batches, header
from gzflow.catalog.read import CatalogTable, read_catalog
from gzflow.errors import CatalogError
from gzflow.surveys.survey import Survey


def preview_catalog(
    survey: Survey,
    path: Path,
    *,
    joins: Mapping[str, Path] | None = None,
    mapping: Path | None = None,
    rows: int = 500,
) -> CatalogTable:
    """The first `rows` rows, by the same code that ingests the whole file; joined tables and mapping are read whole.

    Raises
    ------
    CatalogError
        As `read_catalog`, judged by these rows.
    """
    frame = next(column_batches(path, {name: name for name in header(path)}, rows)).head(rows)
    with TemporaryDirectory() as folder:
        beginning = Path(folder) / f"{path.name.split('.')[0]}.parquet"
        frame.write_parquet(beginning)
        try:
            return read_catalog(survey, beginning, joins=joins, mapping=mapping)
        except CatalogError as error:
            if error.where:
                error.where = error.where.replace(str(beginning), f"{path}, its first {len(frame):,} rows")
            raise
