"""Table files of every format, read in slices of rows: a new format is a class here and a line in `_FORMATS`."""

from __future__ import annotations

from gzflow.catalog.tables.table_file import FORMATS, TableFile, readable, table_file

__all__ = ["FORMATS", "TableFile", "readable", "table_file"]
