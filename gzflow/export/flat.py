"""CSV, and beside it a file that says what the columns are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from gzflow.dictionary import TREE, Meaning
from gzflow.export.contents import NOTHING, Columns, Contents

_DATATYPES = {pa.float64(): "double", pa.float32(): "float", pa.int64(): "long", pa.int32(): "int"}
_FACT = "gzflow:"
"""Begins the names of provenance."""


def write_csv(path: Path, schema: pa.Schema, tables: Iterable[pa.Table], *, compressed: bool) -> None:
    """Write a line of names and a line a galaxy; a list of samples is one cell, ``[1.5, 2.25]``, as Zoobot has it.

    NaN is an empty cell. Nothing else stands in the file: every reader of CSV takes it.
    """
    texts = pa.schema([pa.field(f.name, pa.string() if _is_list(f.type) else f.type) for f in schema])
    with (
        pa.output_stream(path, compression="gzip" if compressed else None) as stream,
        csv.CSVWriter(stream, texts, write_options=csv.WriteOptions(quoting_style="needed")) as writer,
    ):
        for table in tables:
            writer.write_table(pa.table([_written(column) for column in table.columns], schema=texts))


def csv_metadata_path(file: Path) -> Path:
    """Where readers of the W3C's vocabulary look for what describes a CSV file."""
    return file.with_name(f"{file.name}-metadata.json")


def csv_contents(path: Path) -> Contents:
    """A CSV file's table; without the file that describes it, it has no facts."""
    beside = csv_metadata_path(path)
    if not beside.is_file():
        return NOTHING
    about = json.loads(beside.read_text("utf-8"))
    facts = {key.removeprefix(_FACT): value for key, value in about.items() if key.startswith(_FACT)}
    if TREE.decode() not in facts:
        return NOTHING
    known = {datatype: kind for kind, datatype in _DATATYPES.items()} | {"boolean": pa.bool_()}
    types = {column["titles"]: known.get(column["datatype"], pa.string()) for column in about["tableSchema"]["columns"]}

    def read(names: Sequence[str]) -> Columns:
        wanted = csv.ConvertOptions(include_columns=list(names), column_types=types)
        table = csv.read_csv(path, convert_options=wanted)
        return {name: table.column(name).to_numpy() for name in names}

    return Contents(tuple(types), facts, read)


def csv_metadata(file_name: str, schema: pa.Schema, provenance: Mapping[str, str]) -> bytes:
    """Metadata of a CSV file as W3C's "Metadata Vocabulary for Tabular Data" has it, in JSON."""
    columns = [_description(field) for field in schema]
    about = {"@context": "http://www.w3.org/ns/csvw", "url": file_name}
    about |= {"dc:title": provenance["title"]} if provenance.get("title") else {}
    about |= {f"{_FACT}{key}": value for key, value in provenance.items()}
    value = about | {"tableSchema": {"columns": columns, "primaryKey": "id_str"}}
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _description(field: pa.Field) -> dict[str, str]:
    meaning = Meaning.of(field)
    known = {
        "titles": field.name,
        "datatype": _DATATYPES.get(field.type, "boolean" if pa.types.is_boolean(field.type) else "string"),
        "dc:description": meaning.description,
        "gzflow:unit": meaning.unit,
        "gzflow:ucd": meaning.ucd,
    }
    return {key: value for key, value in known.items() if value}


def _written(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    if _is_list(column.type):
        listed = column.combine_chunks()
        numbers = pa.ListArray.from_arrays(
            pa.array(range(0, len(listed.flatten()) + 1, column.type.list_size), pa.int32()),
            listed.flatten().cast(pa.string()),
        )
        return pc.binary_join_element_wise("[", pc.binary_join(numbers, ", "), "]", "")
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), None, column)
    return column


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind))
