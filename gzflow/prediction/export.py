"""Predictions as a table that astronomers can use without gzflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gzflow import __version__
from gzflow.dictionary import SUPPORT, described
from gzflow.durable import replacing
from gzflow.errors import PredictionError
from gzflow.model.image_statistics import statistic_names
from gzflow.posterior import fractions, intervals, proportions_asked, variances
from gzflow.prediction.predict import PredictionPart
from gzflow.tree import DecisionTree

LEVEL = 0.9
MOST_GALAXIES = 10_000
"""In one part."""
LAYOUT, LAYOUT_WITH_SUPPORT = 2, 3
"""Count the changes of the columns: parts of two layouts do not go into one catalogue."""


def layout(supported: bool) -> int:
    """Number of the columns' layout in the parts of a model with or without support."""
    return LAYOUT_WITH_SUPPORT if supported else LAYOUT


def part_table(
    part: PredictionPart,
    tree: DecisionTree,
    metadata: Mapping[str, object],
    keep_concentrations: bool = False,
) -> pa.Table:
    """One row a galaxy: its id and position, and what volunteers would say.

    For each answer ``{question}_{answer}_fraction``, ``_std``, ``_lower`` and ``_upper``: mean, standard deviation and
    the central 90 % of the mixture over the samples. For each question ``{question}_proportion-asked``, the share of
    volunteers who would be asked it. Every column says what it is in its metadata.

    Parameters
    ----------
    metadata
        Kept in the table's schema, next to what the table says of itself: model URI and version, run, seed and so on.
    keep_concentrations
        Add ``{question}_{answer}_concentrations``, a list of the samples' values.

    Where the model has a support: ``support`` and what it comes from, and the pictures' statistics.

    Notes
    -----
    Questions that the model learnt from one vote a galaxy have NaN for `_std`, `_lower` and `_upper`, and are named in
    the metadata (``intervals_withheld``): see `gzflow.model.losses.unidentified`.

    A galaxy whose images differ from the model's says how, in ``recipe_mismatch``; there is no such column otherwise.
    """
    n, n_samples, _ = part.concentrations.shape
    if n > MOST_GALAXIES:
        raise PredictionError(f"a part of {n} galaxies", expected=f"{MOST_GALAXIES} at most", fix="use smaller shards")
    share = fractions(part.concentrations, tree)
    lower, upper = intervals(part.concentrations, tree, LEVEL)
    std = np.sqrt(variances(part.concentrations, tree))
    asked = proportions_asked(part.concentrations, tree)
    for name in part.unidentified:
        hidden = tree.slices[tree.index(name)]
        std[:, hidden] = lower[:, hidden] = upper[:, hidden] = np.nan
    columns: dict[str, pa.Array] = {
        "id_str": pa.array(part.ids, pa.string()),
        "ra": pa.array(part.ra, pa.float64()),
        "dec": pa.array(part.dec, pa.float64()),
    }
    for q, question in enumerate(tree.questions):
        columns[f"{question.name}_proportion-asked"] = pa.array(asked[:, q].astype(np.float32))
        for column, a in zip(question.columns, range(*tree.slices[q].indices(len(tree.answers))), strict=True):
            columns[f"{column}_fraction"] = pa.array(share[:, a].astype(np.float32))
            columns[f"{column}_std"] = pa.array(std[:, a].astype(np.float32))
            columns[f"{column}_lower"] = pa.array(lower[:, a].astype(np.float32))
            columns[f"{column}_upper"] = pa.array(upper[:, a].astype(np.float32))
            if keep_concentrations:
                flat = pa.array(np.ascontiguousarray(part.concentrations[:, :, a]).reshape(-1))
                columns[f"{column}_concentrations"] = pa.FixedSizeListArray.from_arrays(flat, n_samples)
    if part.support is not None and part.statistics is not None:
        names = (*SUPPORT, *statistic_names(part.statistics.shape[1]))
        values = np.concatenate((part.support, part.statistics), axis=1)
        columns |= {name: pa.array(values[:, i]) for i, name in enumerate(names)}
    if part.recipe_differences:
        columns["recipe_mismatch"] = pa.array(["; ".join(part.recipe_differences)] * n, pa.string())
    own = {
        "layout": layout(part.support is not None),
        "tree": json.dumps(tree.to_dict()),
        "n_samples": n_samples,
        "interval_level": LEVEL,
        "created_by": f"gzflow {__version__}",
    }
    if part.unidentified:
        own["intervals_withheld"] = ", ".join(part.unidentified)
    table = pa.table(columns)
    schema = table.schema.with_metadata({key: str(value) for key, value in (own | dict(metadata)).items()})
    return table.cast(described(schema))


def write_part(path: Path, table: pa.Table) -> None:
    """Write a Parquet file, whole or not at all."""
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
