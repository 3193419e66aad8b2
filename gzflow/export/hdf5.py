"""HDF5 in the layout of Zoobot's predictions: (galaxy, answer, pass)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa

from gzflow.export.refinement import concentrations
from gzflow.tree import DecisionTree

_CHUNK = 256
"""Galaxies in one compressed piece."""


def write_hdf5(
    path: Path, tree: DecisionTree, provenance: Mapping[str, str], n: int, samples: int, tables: Iterable[pa.Table]
) -> None:
    """Write ``predictions`` (n, n_answers, n_samples) float32 with ``id_str`` and ``label_cols``.

    Those three are what Zoobot 2.0 writes, and its readers find; positions, splits and provenance stand beside them.
    The values are Dirichlet concentrations, no fractions.
    """
    text = h5py.string_dtype("utf-8")
    with h5py.File(path, "w") as file:
        shape = (n, len(tree.answers), samples)
        chunks = (min(_CHUNK, n), *shape[1:]) if n else None
        values = file.create_dataset(
            "predictions", shape, np.float32, chunks=chunks, compression="gzip" if n else None, shuffle=bool(n)
        )
        values.attrs["description"] = "Dirichlet concentrations (no fractions) of each answer in each sample"
        values.attrs["axes"] = ["galaxy", "answer", "pass"]
        file.create_dataset("label_cols", data=list(tree.answers), dtype=text)
        ids = file.create_dataset("id_str", (n,), text)
        splits = file.create_dataset("split", (n,), text)
        places = {name: file.create_dataset(name, (n,), np.float64) for name in ("ra", "dec")}
        for place in places.values():
            place.attrs["unit"] = "deg"
        file.attrs.update(provenance)
        start = 0
        for table in tables:
            rows = slice(start, start + len(table))
            start = rows.stop
            values[rows] = concentrations(table, tree).transpose(0, 2, 1)
            ids[rows] = table.column("id_str").to_pylist()
            splits[rows] = table.column("split").to_pylist()
            for name, place in places.items():
                place[rows] = table.column(name).to_numpy()
