"""Scores of a sample that was not drawn at random, weighted to the population that it was drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gzflow.evaluation.slices import GalaxyScores, Slice


@dataclass(frozen=True)
class WeightedScore:
    """One question, unweighted and weighted.

    Attributes
    ----------
    n, effective
        Galaxies that count, and (sum w)² / sum w²: as many equally weighted ones would be as telling (Kish 1965).
    uncovered
        Share of the population in cells without a single galaxy that counts: the weighted numbers are silent on them.
    gain, agreement, mae, coverage
        (unweighted, weighted) means: see `gzflow.evaluation.slices.SliceScore`.
    """

    question: str
    n: int
    effective: float
    uncovered: float
    gain: tuple[float, float]
    agreement: tuple[float, float]
    mae: tuple[float, float]
    coverage: tuple[float, float]


def cells_of(slices: Sequence[Slice], n: int) -> NDArray[np.int64]:
    """(n,) number of each galaxy's cell: galaxies in the same slices of every variable share one."""
    cells = np.zeros(n, np.int64)
    for variable in dict.fromkeys(part.variable for part in slices):
        parts = [part.rows for part in slices if part.variable == variable]
        # Galaxies whose value is unknown or rare are alike in that.
        place = sum((i * rows for i, rows in enumerate(parts, start=1)), start=np.zeros(n, np.int64))
        cells = cells * (len(parts) + 1) + place
    return np.unique(cells, return_inverse=True)[1].astype(np.int64)


def post_stratification(cells: NDArray[np.int64], sampled: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """(n,) weights, mean 1 over the sample, that give each cell its share of the population; and the share left out.

    Parameters
    ----------
    cells
        (n,) cell of every galaxy of the population.
    sampled
        (n,) which of them are in the sample: there the weight is (share of the population) / (share of the sample).
    """
    size = int(cells.max(initial=-1)) + 1
    population = np.bincount(cells, minlength=size)
    sample = np.bincount(cells[sampled], minlength=size)
    weights = np.where(sampled, population[cells] / np.maximum(sample[cells], 1), 0.0)
    total = weights.sum()
    uncovered = float(population[sample == 0].sum() / max(len(cells), 1))
    return (weights * sampled.sum() / total if total else weights), uncovered


def weighted_scores(
    scores: GalaxyScores, cells: NDArray[np.int64], asked: NDArray[np.bool_], questions: Sequence[str]
) -> tuple[WeightedScore, ...]:
    """One entry a question: its galaxies weighted to all that were asked it, however few votes they got.

    Parameters
    ----------
    cells
        (n,) from `cells_of`.
    asked
        (n, n_questions) the population of each question.
    """
    gain = scores.nll_constant - scores.nll
    result = []
    for q, question in enumerate(questions):
        population = asked[:, q]
        weights, uncovered = post_stratification(cells[population], scores.counted[population, q])
        kept = weights > 0
        weights = weights[kept]

        def both(
            values: NDArray[np.float64],
            q: int = q,
            population: NDArray[np.bool_] = population,
            kept: NDArray[np.bool_] = kept,
            weights: NDArray[np.float64] = weights,
        ) -> tuple[float, float]:
            mine = values[population, q][kept]
            return (float(mine.mean()), float(np.average(mine, weights=weights))) if len(mine) else (np.nan, np.nan)

        result.append(
            WeightedScore(
                question=question,
                n=len(weights),
                effective=float(weights.sum() ** 2 / (weights**2).sum()) if len(weights) else 0.0,
                uncovered=uncovered,
                gain=both(gain),
                agreement=both(scores.agrees),
                mae=both(scores.error),
                coverage=both(scores.inside),
            )
        )
    return tuple(result)
