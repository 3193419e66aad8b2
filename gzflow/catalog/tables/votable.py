"""VOTables, plain or gzipped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from astropy.io import votable
from astropy.utils.xml.iterparser import get_xml_iterator

from gzflow.catalog.tables.vectors import element_names, split_name


class VoTable:
    """The first table of a VOTable.

    The wanted columns are held in memory as a whole: the format's XML cannot be cut into rows beforehand. For tables
    of more than a few million rows the same data as FITS or Parquet are the better choice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """FIELD names of the first table; variable-length arrays of numbers are left out."""
        names: list[str] = []
        found = False
        with get_xml_iterator(str(self.path)) as events:
            for start, tag, attributes, _ in events:
                if start and tag == "VOTABLE":
                    found = True
                elif start and tag == "FIELD":
                    names += _field_names(attributes)
                elif tag == "DATA" or (tag == "TABLE" and not start):
                    break
        if not found:
            raise ValueError("it is XML, but no VOTABLE")
        return names

    def batches(self, names: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """Typed columns."""
        fields = self.names()
        places = {name: (name, None) if name in fields and "[" not in name else split_name(name) for name in names}
        wanted = list(dict.fromkeys(column for column, _ in places.values()))
        table = votable.parse(str(self.path), columns=wanted, verify="ignore").get_first_table()
        columns = table.to_table(use_names_over_ids=True)
        for start in range(0, max(len(columns), 1), rows):
            part = columns[start : start + rows]
            yield pl.DataFrame({name: _values(part[column], index) for name, (column, index) in places.items()})


def _field_names(field: dict[str, str]) -> list[str]:
    name, size = field.get("name") or field["ID"], field.get("arraysize", "1")
    if field.get("datatype") in {"char", "unicodeChar"}:
        return [name] if "x" not in size else []
    if "*" in size:
        return []
    # The first number varies fastest, so that it is numpy's last axis.
    return element_names(name, tuple(int(n) for n in reversed(size.split("x"))))


def _values(column: Any, element: tuple[int, ...] | None) -> pl.Series:
    mask = np.ma.getmaskarray(column)
    values = np.ma.getdata(column)
    if values.dtype.kind in "OSU":
        return pl.Series([None if absent else str(v) for v, absent in zip(values, mask, strict=True)], dtype=pl.String)
    if element is not None:
        index: Any = (slice(None), *element)
        values, mask = values[index], mask[index]
    elif values.ndim > 1:
        values, mask = values.reshape(len(values)), mask.reshape(len(values))
    native = pl.Series(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="))))
    return native.to_frame("v").select(pl.when(pl.Series(~mask)).then("v").alias("v")).to_series()
