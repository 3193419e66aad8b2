"""HDF5 in the layout of Zoobot's predictions: (galaxy, answer, pass)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gzflow.dictionary import LEVEL, TREE
from gzflow.export.contents import NOTHING, Columns, Contents
from gzflow.export.refinement import concentrations
from gzflow.posterior import fractions, intervals, proportions_asked
from gzflow.tree import DecisionTree

_CHUNK = 256
"""Galaxies in one compressed piece."""
_BLOCK = 16 * _CHUNK
"""Galaxies whose samples are read at once."""
_PLAIN = ("id_str", "ra", "dec", "split")


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


def hdf5_contents(path: Path) -> Contents:
    """The catalogue that an HDF5 file's samples make, with the columns that its run's parts have.

    Fractions, intervals and shares asked are worked out for all galaxies at the first look at any.
    """
    with h5py.File(path) as file:
        facts = {name: value for name, value in file.attrs.items() if isinstance(value, str)}
    if TREE.decode() not in facts:
        return NOTHING
    tree = DecisionTree.from_dict(json.loads(facts[TREE.decode()])).parted
    withheld = facts.get("intervals_withheld", "").split(", ")
    asked = [f"{question.name}_proportion-asked" for question in tree.questions]
    estimates = [f"{answer}_{kind}" for kind in ("fraction", "lower", "upper") for answer in tree.answers]

    @cache
    def derived() -> Columns:
        with h5py.File(path) as file:
            samples = file["predictions"]
            n = len(samples)
            values = np.empty((n, len(asked) + len(estimates)), np.float32)
            for start in range(0, n, _BLOCK):
                rows = slice(start, start + _BLOCK)
                values[rows] = _derived(samples[rows].transpose(0, 2, 1), tree, float(facts[LEVEL.decode()]), withheld)
        return dict(zip((*asked, *estimates), values.T, strict=True))

    def read(names: Sequence[str]) -> Columns:
        with h5py.File(path) as file:
            plain = {name: file[name] for name in _PLAIN if name in names}
            found = {k: v.asstr()[:] if h5py.check_string_dtype(v.dtype) else v[:] for k, v in plain.items()}
        return found | {name: derived()[name] for name in names if name not in _PLAIN}

    return Contents((*_PLAIN, *asked, *estimates), facts, read)


def _derived(
    samples: NDArray[np.float32], tree: DecisionTree, level: float, withheld: Sequence[str]
) -> NDArray[np.float64]:
    """(n, n_questions + 3 n_answers) shares asked, fractions, lower and upper ends.

    NaN where the samples are: an export leaves out what too few would be asked. Their share is told by the questions
    before, and not at all where one of these was left out.
    """
    left_out = np.asarray(np.isnan(samples).any(1))
    alpha = np.where(left_out[:, None], 1, samples)
    mean = fractions(alpha, tree)
    mean[left_out] = np.nan
    lower, upper = (np.where(left_out, np.nan, end) for end in intervals(alpha, tree, level))
    for name in withheld:
        if name:
            lower[:, tree.slices[tree.index(name)]] = upper[:, tree.slices[tree.index(name)]] = np.nan
    asked = proportions_asked(alpha, tree)
    unknown = np.zeros(asked.shape, bool)
    for question in tree.topological:
        for parent, answer in tree.parents[question]:
            unknown[:, question] |= unknown[:, parent] | left_out[:, answer]
    asked[unknown] = np.nan
    return np.concatenate((asked, mean, lower, upper), axis=1)
