"""The picture that a prediction ends with: of each answer, the galaxies that most volunteers would give it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from gzflow.evaluation.figures import GalleryRow, top_galaxies_figure
from gzflow.evaluation.ranking import top_galaxies
from gzflow.shards.reader import ShardReader
from gzflow.tree import DecisionTree

BEST = 5
"""Galaxies of each answer."""


class _Candidate(NamedTuple):
    """Sorts best first, then by id."""

    minus_score: float
    id_str: str
    fraction: float
    shard: Path
    row: int


def gallery(parts: Iterable[tuple[Path, Path]], tree: DecisionTree) -> Figure:
    """The best galaxies of a catalogue for each answer; only the best of each part are kept in memory.

    Parameters
    ----------
    parts
        Of the catalogue, each with the shard that it was predicted from.
    """
    best: dict[str, list[_Candidate]] = {answer: [] for answer in tree.answers}
    for part, shard in parts:
        table = pq.read_table(part, columns=["id_str", *(f"{answer}_fraction" for answer in tree.answers)])
        ids = table.column("id_str").to_pylist()
        means = np.stack([table.column(f"{answer}_fraction").to_numpy() for answer in tree.answers], axis=1)
        for answer, top in zip(tree.answers, top_galaxies(means, tree, count=BEST), strict=True):
            best[answer] += [
                _Candidate(-float(score), ids[row], float(fraction), shard, int(row))
                for row, score, fraction in zip(top.indices, top.scores, top.fractions, strict=True)
            ]
    rows = []
    for question in tree.questions:
        for answer, column in zip(question.answers, question.columns, strict=True):
            chosen = sorted(best[column])[:BEST]
            if chosen:
                images = np.stack([ShardReader(one.shard).images([one.row])[0] for one in chosen])
                rows.append(GalleryRow(question.name, answer, images, [f"{one.fraction:.0%}" for one in chosen]))
    return top_galaxies_figure(
        rows,
        title="Top galaxies",
        subtitle="highest share of all volunteers expected to give the answer; below, the fraction among those asked",
    )
