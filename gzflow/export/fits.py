"""FITS: one binary table, its header made by astropy, its rows streamed."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from astropy.io import fits

from gzflow.errors import ExportError
from gzflow.export.contents import Columns, Contents, native
from gzflow.export.records import RecordColumn, dtype_of, records

_FORMATS = {">f8": "D", ">f4": "E", ">i8": "K", ">i4": "J", "S1": "L"}
_PUNCTUATION = str.maketrans({"–": "-", "—": "-", "’": "'", "“": '"', "”": '"', "ß": "ss", "ø": "o", "Ø": "O"})
MOST_COLUMNS = 999
BLOCK = 2880
"""Bytes; headers and data fill whole ones."""
KEYWORDS = {
    "survey": "SURVEY",
    "title": "OBJECT",
    "citation": "REFERENC",
    "licence": "LICENCE",
    "acknowledgement": "ACKNOWL",
    "model": "MODEL",
    "version": "MODELVER",
    "model_uri": "MODELURI",
    "run_id": "RUNID",
    "training_fingerprint": "TRAINFP",
    "tree_fingerprint": "TREEFP",
    "shard_fingerprint": "SHARDFP",
    "samples": "NSAMPLES",
    "seed": "SEED",
    "interval_level": "LEVEL",
    "precision": "PRECISN",
    "least_proportion_asked": "MINASKED",
    "volunteers": "NVOLUNT",
    "exported_by": "CREATOR",
    "created_by": "PREDBY",
    "recipe_mismatch": "RECIPE",
    "tree": "TREE",
}
"""FITS keywords have eight characters; what is not named here stands in the header as HISTORY."""


def write_fits(
    path: Path,
    columns: Sequence[RecordColumn],
    provenance: Mapping[str, str],
    n: int,
    tables: Iterable[pa.Table],
    *,
    name: str,
) -> None:
    """Write a primary HDU without data and one binary table, which is named `name`.

    Raises
    ------
    ExportError
        Texts that are not ASCII, or more columns than FITS has room for.
    """
    problems = [f"column {c.name!r} has texts that are not ASCII" for c in columns if c.wide]
    if len(columns) > MOST_COLUMNS:
        problems.append(f"{len(columns)} columns; FITS has room for {MOST_COLUMNS}")
    if problems:
        raise ExportError("FITS cannot hold this catalogue", problems=problems, fix="export as VOTable or Parquet")
    with path.open("wb") as stream:
        fits.PrimaryHDU(header=_cards(provenance)).writeto(stream)
        stream.write(_header(columns, provenance, n, name).tostring().encode("ascii"))
        written = sum(stream.write(records(table, columns).data) for table in tables)
        stream.write(bytes(-written % BLOCK))


def fits_contents(path: Path) -> Contents:
    """A FITS file's first table."""
    header = fits.getheader(path, 1)
    facts = {name: str(header[keyword]) for name, keyword in KEYWORDS.items() if keyword in header}

    def read(names: Sequence[str]) -> Columns:
        with fits.open(path, memmap=True) as hdus:
            return {name: native(hdus[1].data[name]) for name in names}

    return Contents(tuple(header[f"TTYPE{i}"] for i in range(1, header["TFIELDS"] + 1)), facts, read)


def _header(columns: Sequence[RecordColumn], provenance: Mapping[str, str], n: int, name: str) -> fits.Header:
    layout = [fits.Column(name=c.name, format=_format(c), unit=c.meaning.unit or None) for c in columns]
    header = fits.BinTableHDU.from_columns(layout, nrows=0, name=name).header
    header["NAXIS1"], header["NAXIS2"] = dtype_of(columns).itemsize, n
    for i, column in enumerate(columns, start=1):
        # What TOPCAT reads and writes.
        header.set(f"TCOMM{i}", _ascii(column.meaning.description), after=f"TFORM{i}")
        if column.meaning.ucd:
            header.set(f"TUCD{i}", column.meaning.ucd, after=f"TCOMM{i}")
    header.extend(_cards(provenance), end=True)
    return header


def _format(column: RecordColumn) -> str:
    if pa.types.is_string(column.type):
        return f"{column.length}A"
    letter = _FORMATS[column.dtype]
    return letter if column.length == 1 and not pa.types.is_fixed_size_list(column.type) else f"{column.length}{letter}"


def _cards(provenance: Mapping[str, str]) -> fits.Header:
    header = fits.Header()
    for key, value in provenance.items():
        if key in KEYWORDS:
            header[KEYWORDS[key]] = _ascii(value)
        else:
            header.add_history(f"{key}: {_ascii(value)}")
    return header


def _ascii(text: str) -> str:
    """Text as a header can hold it: accents are dropped, dashes and quotes made plain, the rest becomes ``?``."""
    plain = unicodedata.normalize("NFKD", text.translate(_PUNCTUATION))
    kept = "".join(c for c in plain if not unicodedata.combining(c)).encode("ascii", "replace").decode()
    return "".join(c if c.isprintable() else " " for c in kept)
