"""A catalogue in any form that keeps its tree, read a few columns at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from numpy.typing import NDArray

from gzflow.dictionary import TREE
from gzflow.errors import ExportError
from gzflow.export.fits import KEYWORDS
from gzflow.export.source import PredictedCatalogue
from gzflow.shards.header import MANIFEST
from gzflow.tree import DecisionTree

READABLE = (".parquet", ".fits")


@dataclass(frozen=True)
class ReadableCatalogue:
    """A finished prediction run, or a Parquet or FITS file that was exported from one.

    Attributes
    ----------
    place
        The folder or file.
    columns
        Names of the columns.
    provenance
        Where the catalogue comes from, by the words of its metadata.
    """

    place: Path
    columns: tuple[str, ...]
    provenance: Mapping[str, str]
    tree: DecisionTree
    _files: tuple[tuple[Path, str | None], ...]

    @classmethod
    def open(cls, place: Path) -> ReadableCatalogue:
        """The catalogue in a run's folder or an exported file.

        Raises
        ------
        ExportError
            It is neither, or unfinished.
        """
        if place.is_dir():
            run = PredictedCatalogue.open(place)
            return cls(place, tuple(run.schema.names), run.provenance, run.tree, run.parts)
        names: Sequence[str] = ()
        facts: dict[str, str] = {}
        if place.suffix == ".parquet" and place.is_file():
            schema = pq.read_schema(place)
            names = schema.names
            facts = {key.decode(): value.decode(errors="replace") for key, value in (schema.metadata or {}).items()}
        elif place.suffix == ".fits" and place.is_file():
            header = fits.getheader(place, 1)
            names = [header[f"TTYPE{i}"] for i in range(1, header["TFIELDS"] + 1)]
            facts = {name: str(header[keyword]) for name, keyword in KEYWORDS.items() if keyword in header}
        if TREE.decode() not in facts:
            raise ExportError(
                "this is no catalogue that can be read back",
                where=str(place),
                expected=f"a prediction run's folder with {MANIFEST}, or a file of `gzflow export` that ends in"
                f" {' or '.join(READABLE)}",
                fix="name one of these; other formats can be exported again from their run",
            )
        tree = DecisionTree.from_dict(json.loads(facts.pop(TREE.decode()))).parted
        return cls(place, tuple(names), facts, tree, ((place, None),))

    @cached_property
    def ids(self) -> NDArray[np.object_]:
        """(n,) texts."""
        return self.read(["id_str"])["id_str"]

    def read(self, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """(n,) values of some columns; the rows are in the catalogue's order."""
        if self.place.suffix == ".fits":
            with fits.open(self.place, memmap=True) as hdus:
                return {name: _native(hdus[1].data[name]) for name in names}
        table = pa.concat_tables(self._part(path, split, names) for path, split in self._files)
        return {name: table.column(name).to_numpy() for name in names}

    @staticmethod
    def _part(path: Path, split: str | None, names: Sequence[str]) -> pa.Table:
        # Opened as one file: a folder named like "key=value" would else become a column.
        stored = [name for name in names if split is None or name != "split"]
        table = pq.ParquetFile(path).read(columns=stored)
        if len(stored) < len(names):
            table = table.append_column("split", pa.repeat(split, len(table)))
        return table.replace_schema_metadata(None)


def _native(values: NDArray[Any]) -> NDArray[Any]:
    """A copy in the machine's byte order, which FITS has not; texts as objects."""
    plain = np.asarray(values)
    return plain.astype(object if plain.dtype.kind in "SU" else plain.dtype.newbyteorder("="))
