"""VOTable: fields and provenance as XML, made by astropy; the rows as BINARY2, streamed."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.io import votable as reader
from astropy.io.votable import tree as votable
from numpy.typing import NDArray

from gzflow.export.contents import Columns, Contents, native
from gzflow.export.records import RecordColumn, dtype_of, records

_DATATYPES = {">f8": "double", ">f4": "float", ">i8": "long", ">i4": "int", "S1": "boolean"}
_TABLE_END = b"  </TABLE>"
_DATA = b"   <DATA>\n    <BINARY2>\n     <STREAM encoding='base64'>\n"
_DATA_END = b"     </STREAM>\n    </BINARY2>\n   </DATA>\n"
_LINE = 57
"""Bytes that make a line of 76 characters, as MIME has it."""


def write_votable(
    path: Path,
    columns: Sequence[RecordColumn],
    provenance: Mapping[str, str],
    n: int,
    tables: Iterable[pa.Table],
    *,
    name: str,
) -> None:
    """Write one resource with one table, which is named `name`."""
    before, after = xml_around_data(columns, provenance, n, name)
    layout = [("no_value", np.uint8, (-(-len(columns) // 8),)), *dtype_of(columns).descr]
    with path.open("wb") as stream:
        stream.write(before + _DATA)
        kept = b""
        for table in tables:
            rows = np.zeros(len(table), np.dtype(layout))
            filled = records(table, columns)
            for column in columns:
                rows[column.name] = filled[column.name]
            data = kept + rows.tobytes()
            whole = len(data) - len(data) % _LINE
            stream.write(base64.encodebytes(data[:whole]))
            kept = data[whole:]
        stream.write(base64.encodebytes(kept) + _DATA_END + after)


def votable_contents(path: Path) -> Contents:
    """A VOTable's first table, which is in memory from here on.

    Records as `write_votable` makes them are read at once; what another program saved, row by row, by astropy.
    """
    content = path.read_bytes()
    before, ours, rest = content.partition(_DATA)
    data, _, after = rest.partition(_DATA_END)
    document = reader.parse(io.BytesIO(before + after if ours else content))
    table = document.get_first_table()
    facts = {info.name: info.value for resource in document.resources for info in resource.infos}
    fields = {field.name: field for field in table.fields}
    if not ours:
        return Contents(tuple(fields), facts, lambda names: {name: native(table.array[name]) for name in names})
    layout = [("no_value", np.uint8, (-(-len(fields) // 8),)), *(_record_field(field) for field in fields.values())]
    records = np.frombuffer(base64.decodebytes(data), np.dtype(layout))

    def read(names: Sequence[str]) -> Columns:
        return {name: _values(records[name], fields[name].datatype) for name in names}

    return Contents(tuple(fields), facts, read)


def _record_field(field: votable.Field) -> tuple[Any, ...]:
    """How NumPy says what a field's values are in the records."""
    length = int(field.arraysize or 1)
    if field.datatype == "char":
        return field.name, f"S{length}"
    if field.datatype == "unicodeChar":
        return field.name, ">u2", (length,)
    dtype = next(dtype for dtype, datatype in _DATATYPES.items() if datatype == field.datatype)
    return (field.name, dtype, (length,)) if field.arraysize else (field.name, dtype)


def _values(stored: NDArray[Any], datatype: str) -> NDArray[Any]:
    if datatype == "unicodeChar":
        return np.array([row.tobytes().decode("utf-16-be").rstrip("\0") for row in stored], object)
    return native(np.char.decode(stored, "ascii") if datatype == "char" else stored)


def xml_around_data(
    columns: Sequence[RecordColumn], provenance: Mapping[str, str], n: int | None, name: str
) -> tuple[bytes, bytes]:
    """What stands before and after the DATA element."""
    document = votable.VOTableFile(version="1.4")
    resource = votable.Resource(name=name)
    document.resources.append(resource)
    resource.description = provenance.get("title") or name
    resource.infos.extend(votable.Info(name=key, value=value) for key, value in provenance.items())
    table = votable.TableElement(document, name=name, nrows=n)
    resource.tables.append(table)
    for column in columns:
        field = votable.Field(
            document,
            name=column.name,
            datatype=_datatype(column),
            arraysize=_arraysize(column),
            unit=column.meaning.unit or None,
            ucd=column.meaning.ucd or None,
        )
        field.description = column.meaning.description or None
        table.fields.append(field)
    written = io.BytesIO()
    document.to_xml(written)
    before, end, after = written.getvalue().rpartition(_TABLE_END)
    return before, end + after


def _datatype(column: RecordColumn) -> str:
    if pa.types.is_string(column.type):
        return "unicodeChar" if column.wide else "char"
    return _DATATYPES[column.dtype]


def _arraysize(column: RecordColumn) -> str | None:
    vector = pa.types.is_string(column.type) or pa.types.is_fixed_size_list(column.type)
    return str(column.length) if vector else None
