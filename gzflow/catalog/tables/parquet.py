"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

# Column chunks are read through a window, so that one row group of ten million rows is no more than many small ones.
_WINDOW = 2**20


class ParquetTable:
    """Columns of any type, as they were written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Top-level columns."""
        return list(pq.read_schema(self.path).names)

    def batches(self, names: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """Typed columns."""
        with pq.ParquetFile(self.path, buffer_size=_WINDOW) as file:
            empty = True
            for batch in file.iter_batches(batch_size=rows, columns=list(names)):
                empty = False
                yield pl.DataFrame(pa.Table.from_batches([batch]).select(list(names)))
            if empty:
                yield pl.DataFrame(file.schema_arrow.empty_table().select(list(names)))
