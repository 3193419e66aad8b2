"""CSV files, plain or gzipped."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv as pc

from gzflow.errors import CatalogError

_BLOCK = 4 * 2**20  # bytes parsed at a time: far above the longest row, far below memory
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


class CsvFile:
    """Comma-separated text with a header line; every cell is text."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zipped = path.name.lower().endswith(".gz")

    def names(self) -> list[str]:
        """The header line."""
        with (
            self.path.open("rb") as stream,
            gzip.GzipFile(fileobj=stream) if self._zipped else nullcontext(stream) as content,
            io.TextIOWrapper(content, "utf-8-sig", newline="") as text,
        ):
            names = next(csv.reader(text), [])
        if not names:
            raise ValueError("the file is empty")
        if names[0].lstrip().lower().startswith(("<!doctype", "<html", "<?xml")):
            raise ValueError("this is a web page or XML, perhaps a server's error message")
        self._refuse_other_separators(names)
        return names

    def batches(self, names: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """Text columns; an empty cell is the empty text."""
        kinds = dict.fromkeys(names, pa.string())
        with pa.input_stream(self.path, compression="gzip" if self._zipped else None) as stream:
            blocks = pc.open_csv(
                stream,
                pc.ReadOptions(block_size=_BLOCK),
                pc.ParseOptions(newlines_in_values=True),
                pc.ConvertOptions(include_columns=list(names), column_types=kinds, strings_can_be_null=False),
            )
            gathered: list[pa.RecordBatch] = []
            given = 0
            for block in blocks:
                gathered.append(block)
                if sum(map(len, gathered)) >= rows:
                    whole = pa.Table.from_batches(gathered)
                    cut = len(whole) - len(whole) % rows
                    for start in range(0, cut, rows):
                        given += rows
                        yield pl.DataFrame(whole.slice(start, rows))
                    gathered = whole.slice(cut).to_batches()
            if gathered or not given:
                yield pl.DataFrame(pa.Table.from_batches(gathered, blocks.schema))

    def _refuse_other_separators(self, names: Sequence[str]) -> None:
        found = [sign for sign in _SEPARATORS if len(names) == 1 and sign in names[0]]
        if found:
            word = _SEPARATORS[found[0]]
            raise CatalogError(
                f"the table's columns are separated by {word}",
                where=f"{self.path}: {names[0][:80]}",
                expected="commas",
                fix=f"polars.read_csv({self.path.name!r}, separator={found[0]!r}, infer_schema=False)"
                ".write_csv('commas.csv') converts it and changes no digit",
            )
