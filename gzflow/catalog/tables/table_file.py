"""What all table files have in common, and which class reads which."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Protocol

import polars as pl

from gzflow.errors import CatalogError

# Modules are imported on first use: pyarrow and astropy together take half a second.
_FORMATS = {
    ".csv": ("delimited", "CsvFile"),
    ".csv.gz": ("delimited", "CsvFile"),
    ".parquet": ("parquet", "ParquetTable"),
    ".fits": ("fits", "FitsTable"),
    ".fits.gz": ("fits", "FitsTable"),
    ".fit": ("fits", "FitsTable"),
    ".vot": ("votable", "VoTable"),
    ".vot.gz": ("votable", "VoTable"),
    ".votable": ("votable", "VoTable"),
    ".votable.gz": ("votable", "VoTable"),
}
FORMATS = tuple(_FORMATS)
"""Endings of files that can be read as tables."""


class TableFile(Protocol):
    """A table file, opened anew by each call; nothing of its rows is kept."""

    def __init__(self, path: Path) -> None: ...

    def names(self) -> list[str]:
        """Column names in the file's order; an element of a vector column is ``name[0]``, ``name[1]`` ..."""
        ...

    def batches(self, names: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """At most `rows` rows at a time of the columns `names`, in the file's order; at least one frame.

        Text formats give text, others the types they hold; "no value" as the format itself marks it is NULL.
        """
        ...


def table_file(path: Path) -> TableFile:
    """The reader of a file, chosen by its ending.

    Raises
    ------
    CatalogError
        None reads such files.
    """
    module, name = _FORMATS[_kind(path)]
    reader: type[TableFile] = getattr(import_module(f"gzflow.catalog.tables.{module}"), name)
    return reader(path)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Whatever the libraries say about a broken file becomes one sentence."""
    kind = _kind(path)
    try:
        yield
    except FileNotFoundError as error:
        raise CatalogError("there is no such catalog file", where=str(path), fix="check the path") from error
    except (
        OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error, pl.exceptions.PolarsError, ValueError,
        IndexError, TypeError, KeyError,
    ) as error:  # fmt: skip
        with_header = ", with a header line and text in UTF-8" if kind.startswith(".csv") else ""
        raise CatalogError(
            "the catalog file cannot be read as a table",
            where=str(path),
            expected=f"a whole {kind} file{with_header}",
            fix=f"download it again or convert it; the reader says: {error}",
        ) from error


def _kind(path: Path) -> str:
    for kind in FORMATS:
        if path.name.lower().endswith(kind):
            return kind
    raise CatalogError(
        "this kind of table cannot be read",
        where=str(path),
        expected=f"a file that ends in {', '.join(FORMATS)}",
        fix="convert the table, for example with astropy.table.Table.read(...).write(...)",
    )
