"""How much a mean would vary with another draw of galaxies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOGETHER = 32
"""Draws multiplied in one go: the galaxies' values are read once for all of them."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its central bootstrap interval."""

    mean: float
    lower: float
    upper: float
    level: float = 0.95


def bootstrap_means(
    values: NDArray[np.float64],
    chosen: NDArray[np.bool_] | NDArray[np.float64],
    *,
    resamples: int = 2000,
    seed: int = 42,
    level: float = 0.95,
) -> list[Interval]:
    """One interval a column: means of paired differences over the chosen galaxies.

    Galaxies are drawn with replacement, whole: all columns see the same draws, so what one galaxy does to several
    questions stays together (a paired bootstrap when `values` are differences).

    Parameters
    ----------
    values, chosen
        (n_galaxies, n_columns). A column without a chosen galaxy gives NaN. Where `chosen` says how many things of a
        galaxy count (its questions, say), `values` holds their sum.
    """
    n, columns = values.shape
    both = np.hstack([np.where(chosen, values, 0.0), chosen.astype(np.float64)])
    generator = np.random.default_rng(seed)
    sums = np.zeros((resamples, 2 * columns))
    for start in range(0, resamples if n else 0, TOGETHER):
        draws = min(TOGETHER, resamples - start)
        times = np.empty((draws, n))
        for row in times:
            row[:] = np.bincount(generator.integers(n, size=n), minlength=n)
        sums[start : start + draws] = times @ both
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums[:, :columns] / sums[:, columns:]
        whole = both[:, :columns].sum(axis=0) / both[:, columns:].sum(axis=0)
    tail = (1 - level) / 2
    result = []
    for column in range(columns):
        drawn = means[np.isfinite(means[:, column]), column] if n else np.empty(0)
        lower, upper = np.quantile(drawn, [tail, 1 - tail]) if len(drawn) else (np.nan, np.nan)
        result.append(Interval(float(whole[column]), float(lower), float(upper), level))
    return result
