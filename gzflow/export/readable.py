"""A catalogue in any form that keeps its tree, read a few columns at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gzflow.dictionary import TREE
from gzflow.errors import ExportError
from gzflow.export.contents import Columns, Contents
from gzflow.export.fits import fits_contents
from gzflow.export.flat import csv_contents
from gzflow.export.hdf5 import hdf5_contents
from gzflow.export.parquet import parquet_contents
from gzflow.export.source import PredictedCatalogue
from gzflow.export.votable import votable_contents
from gzflow.shards.header import MANIFEST
from gzflow.tree import DecisionTree

READERS: Mapping[str, Callable[[Path], Contents]] = {
    ".parquet": parquet_contents,
    ".fits": fits_contents,
    ".fit": fits_contents,
    ".vot": votable_contents,
    ".votable": votable_contents,
    ".xml": votable_contents,
    ".csv": csv_contents,
    ".csv.gz": csv_contents,
    ".hdf5": hdf5_contents,
    ".h5": hdf5_contents,
}
"""By the end of a file's name; the quickest stand first."""


@dataclass(frozen=True)
class ReadableCatalogue:
    """A finished prediction run, or a file that was exported from one.

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
    _read: Callable[[Sequence[str]], Columns]

    @classmethod
    def open(cls, place: Path) -> ReadableCatalogue:
        """The catalogue in a run's folder or an exported file.

        Raises
        ------
        ExportError
            It is neither, or unfinished, or damaged.
        """
        if place.is_dir():
            run = PredictedCatalogue.open(place)
            return cls(place, tuple(run.schema.names), run.provenance, run.tree, lambda names: _run_columns(run, names))
        reader = next((reader for suffix, reader in READERS.items() if place.name.lower().endswith(suffix)), None)
        with _legible(place):
            found = reader(place) if reader is not None and place.is_file() else None
        if found is None or TREE.decode() not in found.facts:
            raise ExportError(
                "this is no catalogue that can be read back",
                where=str(place),
                expected=f"a prediction run's folder with {MANIFEST}, or a file of `gzflow export` that ends in"
                f" {', '.join(READERS)}; a CSV file with its -metadata.json beside it",
                fix="name one of these, or export the run again",
            )
        facts = dict(found.facts)
        tree = DecisionTree.from_dict(json.loads(facts.pop(TREE.decode()))).parted
        return cls(place, found.names, facts, tree, found.read)

    @cached_property
    def ids(self) -> NDArray[np.object_]:
        """(n,) texts."""
        return self.read(["id_str"])["id_str"]

    def read(self, names: Sequence[str]) -> Columns:
        """(n,) values of some columns; the rows are in the catalogue's order.

        Raises
        ------
        ExportError
            There is no such column, or the file is damaged.
        """
        if missing := [name for name in names if name not in self.columns]:
            raise ExportError(
                f"the catalogue lacks {len(missing)} of {len(names)} columns",
                where=str(self.place),
                problems=missing[:5],
                expected="the columns that gzflow wrote; others may stand beside them",
                fix="export the run again",
            )
        with _legible(self.place):
            return self._read(names)


@contextmanager
def _legible(place: Path) -> Iterator[None]:
    """Say of a damaged file what its format's library says in an error of its own."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ExportError(
            "the catalogue cannot be read",
            where=str(place),
            problems=[f"{type(error).__name__}: {error}"],
            expected="whole files, as gzflow wrote them",
            fix="copy it once more, or make it again",
        ) from error


def _run_columns(run: PredictedCatalogue, names: Sequence[str]) -> Columns:
    parts = []
    for path, split in run.parts:
        # Opened as one file: a folder named like "key=value" would else become a column.
        table = pq.ParquetFile(path).read(columns=[name for name in names if name != "split"])
        if "split" in names:
            table = table.append_column("split", pa.repeat(split, len(table)))
        parts.append(table.replace_schema_metadata(None))
    table = pa.concat_tables(parts)
    return {name: table.column(name).to_numpy() for name in names}
