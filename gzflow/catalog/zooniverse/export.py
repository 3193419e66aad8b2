"""Zooniverse's CSV exports, read in pieces and without the columns about people."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv as pc

from gzflow.catalog.columns import header, near_matches
from gzflow.errors import CatalogError, MissingColumns

ExportKind = Literal["classifications", "subjects", "reductions"]
# Columns by which each export is known; the headers of real files say so.
_SIGNS: dict[ExportKind, set[str]] = {
    "classifications": {"classification_id", "annotations", "subject_data"},
    "subjects": {"subject_id", "metadata", "locations"},
    "reductions": {"subject_id", "workflow_id", "task", "reducer"},
}
# Larger than any row: metadata of one classification can take tens of kilobytes.
_BLOCK = 8 * 2**20


def kind_of(path: Path) -> ExportKind:
    """Which export a file is, by its columns.

    Raises
    ------
    CatalogError
        None of them; panoptes-aggregation's extracts, which are not counted yet.
    """
    present = set(header(path))
    for kind, signs in _SIGNS.items():
        if signs <= present:
            return kind
    if "extractor" in present:
        raise CatalogError(
            "these are extracts, one row a classification and task, not votes",
            where=str(path),
            expected="a classifications export, or reductions (question_reducer_*.csv)",
            fix="run `panoptes_aggregation reduce` on this file, or give the classifications export itself",
        )
    raise CatalogError(
        "this is no export that can be counted",
        where=str(path),
        expected="; or ".join(f"{kind}: columns {', '.join(sorted(signs))}" for kind, signs in _SIGNS.items()),
        fix="take the CSV from the project's Data Exports page as it is",
    )


def rows(path: Path, columns: Sequence[str], on_bad_row: Callable[[str], None]) -> Iterator[list[tuple[str, ...]]]:
    """Rows in pieces, as text, with these columns alone: the others are never turned into values.

    Parameters
    ----------
    on_bad_row
        Called with what is wrong with a row that has too few or too many cells; it is left out.

    Raises
    ------
    MissingColumns
        The file lacks some of the columns.
    CatalogError
        It is no CSV, or ends inside a cell.
    """
    present = header(path)
    missing = [name for name in columns if name not in present]
    if missing:
        raise MissingColumns(
            f"the export lacks {len(missing)} column(s)",
            where=str(path),
            problems=[f"{name!r}{near_matches(name, present)}" for name in missing],
            fix="take the CSV from the project's Data Exports page as it is",
        )

    def bad(row: pc.InvalidRow) -> str:
        on_bad_row(f"{row.actual_columns} cells instead of {row.expected_columns}")
        return "skip"

    try:
        with pc.open_csv(
            str(path),
            pc.ReadOptions(block_size=_BLOCK, use_threads=False),
            pc.ParseOptions(newlines_in_values=True, invalid_row_handler=bad),
            pc.ConvertOptions(
                include_columns=list(columns),
                column_types=dict.fromkeys(columns, pa.string()),
                strings_can_be_null=False,
            ),
        ) as reader:
            for batch in reader:
                yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
    except pa.ArrowInvalid as error:
        raise CatalogError(
            "the export cannot be read to its end",
            where=str(path),
            expected="a whole CSV file, text in UTF-8",
            fix=f"download it again; the reader says: {error}",
        ) from error


def parsed(text: str) -> Any:
    """JSON of a cell; None where it is empty or broken."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # the latter of a list in a list in a list ...
        return None


def whole(text: str, bits: int = 63) -> int | None:
    """A number as exports write ids and versions; None for all else, and for what has more bits."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    number = int(text)
    return number if number < 2**bits else None
