"""Whether a 90 % interval holds 90 % of the volunteers' votes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

from gzflow.tree import DecisionTree

LEVEL = 0.9
"""Of the intervals that are published."""
LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Of the intervals whose coverage is reported."""
CHUNK = 500_000
"""Values handled at once: what fits a processor's cache."""


@dataclass(frozen=True)
class CountSteps:
    """Where each observed vote count lies in its predictive distribution.

    The prediction for one answer's count among the question's votes is a mixture, over samples, of Beta-binomials.

    Attributes
    ----------
    below, at
        (n, n_answers) probabilities of fewer votes than were cast and of just as many; NaN where the question got none.
    """

    below: NDArray[np.float64]
    at: NDArray[np.float64]

    def inside(self, level: float = LEVEL) -> NDArray[np.float64]:
        """(n, n_answers) share of each vote count's probability that lies in its central predictive interval.

        Counts are whole numbers, so an interval of counts always holds more than its level; here the count's step of
        the predictive distribution function, from F(k-1) to F(k), is laid over ((1-level)/2, (1+level)/2) and the part
        inside is returned: the expectation of a randomised probability integral transform. Its mean is `level` exactly
        when the predictions are right, whatever the number of votes.
        """
        return _overlap(self.below, self.at, (1 - level) / 2, (1 + level) / 2)

    def transforms(self, seed: int = 42) -> NDArray[np.float64]:
        """(n, n_answers) randomised probability integral transforms, one uniform draw in each count's step.

        Uniform in [0, 1] when the predictions are right (Czado, Gneiting & Held 2009, Biometrics 65, 1254): heaped at
        both ends when intervals are too narrow, in the middle when they are too wide, on one side when biased.
        """
        return self.below + np.random.default_rng(seed).random(self.below.shape) * self.at


def predictive_steps(votes: NDArray[Any], concentrations: NDArray[Any], tree: DecisionTree) -> CountSteps:
    """The steps of (n, n_answers) vote counts under (n, n_samples, n_answers) concentrations."""
    n, samples, answers = concentrations.shape
    below, at = np.full((2, n, answers), np.nan)
    for part in tree.slices:
        totals = votes[:, part].sum(axis=1)
        asked = np.flatnonzero(totals > 0)
        for answer in range(part.start, part.stop):
            step = max(1, CHUNK // samples)
            for start in range(0, len(asked), step):
                rows = asked[start : start + step]
                alpha = concentrations[rows, :, answer].astype(np.float64)
                beta = concentrations[rows, :, part].sum(axis=2, dtype=np.float64) - alpha
                below[rows, answer], at[rows, answer] = _distribution(votes[rows, answer], totals[rows], alpha, beta)
    return CountSteps(below, at)


def covered(
    votes: NDArray[Any], concentrations: NDArray[Any], tree: DecisionTree, level: float = LEVEL
) -> NDArray[np.float64]:
    """`CountSteps.inside` of (n, n_answers) vote counts under (n, n_samples, n_answers) concentrations."""
    return predictive_steps(votes, concentrations, tree).inside(level)


def _distribution(
    counts: NDArray[Any], totals: NDArray[Any], alpha: NDArray[np.float64], beta: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(K < k) and P(K = k) of the mixture of Beta-binomials, (n,) each.

    One step down, P(j - 1) / P(j) is a quotient of four numbers: no gamma function is needed below the first. Galaxies
    whose count is reached drop out, so the work is the sum of the counts.
    """
    # The largest counts first: at step t, those that still go down stand at the front.
    order = np.argsort(-counts, kind="stable")
    k, n = counts[order, None].astype(np.float64), totals[order, None].astype(np.float64)
    a, b = alpha[order], beta[order]
    log_at = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + betaln(k + a, n - k + b) - betaln(a, b)
    ratio, below = np.ones_like(a), np.zeros_like(a)
    steps = int(k.max(initial=0))
    still = np.searchsorted(-k[:, 0], -np.arange(1, steps + 1), side="right")
    # A ratio overflows only where P(k) is 0 to all digits; then P(K < k) is 1 to all digits, as clipped below.
    with np.errstate(over="ignore", divide="ignore"):
        for t, rows in zip(range(steps), still, strict=True):
            j = k[:rows] - t
            ratio[:rows] *= j * (n[:rows] - j + b[:rows]) / ((n[:rows] - j + 1) * (j - 1 + a[:rows]))
            below[:rows] += ratio[:rows]
        under = np.minimum(np.exp(log_at + np.log(below)), 1.0).mean(axis=1)
    result = np.empty((2, len(counts)))
    result[:, order] = under, np.exp(log_at).mean(axis=1)
    return result[0], result[1]


def _overlap(below: NDArray[np.float64], at: NDArray[np.float64], lower: float, upper: float) -> NDArray[np.float64]:
    inside = np.minimum(below + at, upper) - np.maximum(below, lower)
    return np.clip(inside / np.maximum(at, np.finfo(np.float64).tiny), 0.0, 1.0)
