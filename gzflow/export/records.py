"""Rows of a table as binary records, the form that FITS and VOTable share: big-endian, of one length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gzflow.dictionary import Meaning
from gzflow.errors import ExportError
from gzflow.export.refinement import vectors
from gzflow.export.source import PredictedCatalogue

_NUMBERS = {pa.float64(): ">f8", pa.float32(): ">f4", pa.int64(): ">i8", pa.int32(): ">i4", pa.bool_(): "S1"}


@dataclass(frozen=True)
class RecordColumn:
    """One column of the records.

    Attributes
    ----------
    dtype
        NumPy's; booleans are the letters T and F, text is UTF-8 or, where `wide`, UTF-16.
    length
        Of a list of numbers, or the longest text in characters; 1 for a number.
    wide
        Text that is not all ASCII.
    """

    name: str
    type: pa.DataType
    dtype: str
    length: int
    meaning: Meaning
    wide: bool = False

    def values(self, column: pa.ChunkedArray) -> NDArray[Any]:
        """The values of rows as they are assigned to the records' field."""
        if pa.types.is_string(self.type):
            texts = column.fill_null("").to_pylist()
            return np.array([t.encode("utf-16-be") if self.wide else t.encode() for t in texts], dtype=self.dtype)
        if pa.types.is_boolean(self.type):
            return np.where(column.to_numpy(), b"T", b"F")
        return vectors(column) if pa.types.is_fixed_size_list(self.type) else column.to_numpy()


def record_columns(catalogue: PredictedCatalogue, schema: pa.Schema) -> tuple[RecordColumn, ...]:
    """Columns of the records of an export, after one look through the texts for their lengths."""
    return tuple(_column(field, catalogue) for field in schema)


def dtype_of(columns: Iterable[RecordColumn]) -> np.dtype[Any]:
    """Of one record, without gaps."""
    fields: list[Any] = [
        (c.name, c.dtype, (c.length,)) if pa.types.is_fixed_size_list(c.type) else (c.name, c.dtype) for c in columns
    ]
    return np.dtype(fields)


def records(table: pa.Table, columns: Iterable[RecordColumn]) -> NDArray[Any]:
    """(n,) structured array of a table's rows."""
    columns = tuple(columns)
    rows = np.zeros(len(table), dtype_of(columns))
    for column in columns:
        rows[column.name] = column.values(table.column(column.name))
    return rows


def _column(field: pa.Field, catalogue: PredictedCatalogue) -> RecordColumn:
    meaning = Meaning.of(field)
    if pa.types.is_string(field.type):
        length, wide = _extent(field.name, catalogue)
        return RecordColumn(field.name, field.type, f"S{2 * length if wide else length}", length, meaning, wide)
    listed = pa.types.is_fixed_size_list(field.type)
    number = field.type.value_type if listed else field.type
    if number not in _NUMBERS:
        raise ExportError(
            f"column {field.name!r} is of type {field.type}, which has no form in this format",
            expected="text, truth values, numbers or lists of numbers of one length",
            fix="export as Parquet",
        )
    return RecordColumn(field.name, field.type, _NUMBERS[number], field.type.list_size if listed else 1, meaning)


def _extent(name: str, catalogue: PredictedCatalogue) -> tuple[int, bool]:
    """Longest text in characters (at least 1), and whether any is not ASCII."""
    if name == "split":
        return max((len(split) for _, split in catalogue.parts), default=1), False
    longest, wide = 1, False
    for column in catalogue.column(name):
        longest = max(longest, pc.max(pc.utf8_length(column)).as_py() or 1)
        wide = wide or pc.all(pc.string_is_ascii(column)).as_py() not in {True, None}
    if wide:  # characters beyond the basic plane take two units
        units = (len(text.encode("utf-16-be")) // 2 for column in catalogue.column(name) for text in column.to_pylist())
        longest = max(units)
    return longest, wide
