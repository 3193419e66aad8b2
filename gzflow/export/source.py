"""A finished prediction run, read part by part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gzflow.dictionary import TREE, described
from gzflow.errors import ExportError
from gzflow.shards.header import MANIFEST
from gzflow.tree import DecisionTree

OWN = ("split",)
"""What a part says of itself alone; the rest of its metadata is that of the catalogue."""
SPLIT = pa.field("split", pa.string())


@dataclass(frozen=True)
class PredictedCatalogue:
    """All parts of a run, checked to belong together.

    Attributes
    ----------
    parts
        (file, split) in the manifest's order.
    n
        Galaxies.
    schema
        Of every table that `tables` gives; its metadata is the catalogue's provenance, its columns are described.
    """

    folder: Path
    parts: tuple[tuple[Path, str], ...]
    n: int
    schema: pa.Schema

    @classmethod
    def open(cls, folder: Path) -> PredictedCatalogue:
        """The run in a folder that `gzflow predict` closed.

        Raises
        ------
        ExportError
            It is unfinished, or its parts are not those of its manifest.
        """
        manifest = folder / MANIFEST
        if not manifest.is_file():
            raise ExportError(
                "this is no finished catalogue",
                where=str(folder),
                expected=f"a folder with {MANIFEST}, as `gzflow predict` leaves it",
                fix="run `gzflow predict` again: it goes on where it stopped",
            )
        entries: list[dict[str, Any]] = json.loads(manifest.read_text("utf-8"))["entries"]
        problems = [f"{entry['file']} is missing" for entry in entries if not (folder / entry["file"]).is_file()]
        schemas: dict[str, pa.Schema] = {}
        for entry in entries:
            if (folder / entry["file"]).is_file():
                opened = pq.ParquetFile(folder / entry["file"])
                schemas[entry["file"]] = opened.schema_arrow
                if opened.metadata.num_rows != entry["n"]:
                    problems.append(f"{entry['file']} has {opened.metadata.num_rows} galaxies, not {entry['n']}")
        first = next(iter(schemas.values()), None)
        problems += [f"{name} has other columns than the first part" for name, s in schemas.items() if s != first]
        if problems or first is None:
            raise ExportError(
                "the parts are not those of the manifest",
                where=str(folder),
                problems=problems or ["there is no part"],
                expected="what `gzflow predict` wrote, whole",
                fix="remove the parts that are named and run `gzflow predict` again: it makes them anew",
            )
        metadata = {key: value for key, value in first.metadata.items() if key.decode() not in OWN}
        schema = described(first.append(SPLIT).with_metadata(metadata))
        parts = tuple((folder / entry["file"], str(entry["split"])) for entry in entries)
        return cls(folder, parts, sum(entry["n"] for entry in entries), schema)

    @property
    def tree(self) -> DecisionTree:
        """The questions as the columns name them, check boxes parted."""
        return DecisionTree.from_dict(json.loads(self.schema.metadata[TREE])).parted

    @property
    def provenance(self) -> dict[str, str]:
        """Where the catalogue comes from, but for its tree."""
        return {key.decode(): value.decode() for key, value in self.schema.metadata.items() if key != TREE and value}

    def column(self, name: str) -> Iterator[pa.ChunkedArray]:
        """One column, part by part."""
        for path, _ in self.parts:
            yield pq.read_table(path, columns=[name]).column(name)

    def tables(self) -> Iterator[pa.Table]:
        """The rows, a part at a time."""
        for path, split in self.parts:
            table = pq.ParquetFile(path).read()
            yield pa.table([*table.columns, pa.repeat(split, len(table))], schema=self.schema)
