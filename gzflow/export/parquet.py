"""Parquet in one file; each column carries its meaning, the file also a VOTable header (VOParquet 1.0)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gzflow.export.contents import Columns, Contents
from gzflow.export.records import RecordColumn
from gzflow.export.votable import xml_around_data

VERSION, CONTENT = b"IVOA.VOTable-Parquet.version", b"IVOA.VOTable-Parquet.content"


def write_parquet(
    path: Path,
    schema: pa.Schema,
    columns: Sequence[RecordColumn],
    provenance: Mapping[str, str],
    tables: Iterable[pa.Table],
    *,
    name: str,
) -> None:
    """Write a row group a part."""
    before, after = xml_around_data(columns, provenance, None, name)
    header = before + b'   <PARQUET type="Parquet-local-XML"/>\n' + after
    metadata = schema.metadata | {key.encode(): value.encode() for key, value in provenance.items()}
    # Where astropy looks for the width of its text columns.
    widths = {f"table::len::{c.name}".encode(): str(c.length).encode() for c in columns if pa.types.is_string(c.type)}
    schema = schema.with_metadata(metadata | widths | {VERSION: b"1.0", CONTENT: header})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.replace_schema_metadata(schema.metadata))


def parquet_contents(path: Path) -> Contents:
    """A Parquet file's table."""
    schema = pq.read_schema(path)
    facts = {key.decode(): value.decode(errors="replace") for key, value in (schema.metadata or {}).items()}

    def read(names: Sequence[str]) -> Columns:
        # Opened as one file: a folder named like "key=value" would else become a column.
        table = pq.ParquetFile(path).read(columns=list(names))
        return {name: table.column(name).to_numpy() for name in names}

    return Contents(tuple(schema.names), facts, read)
