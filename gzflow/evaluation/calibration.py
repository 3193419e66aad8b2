"""Whether a 90 % interval holds 90 % of the volunteers' votes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

from gzflow.tree import DecisionTree

CHUNK = 4_000_000


def covered(
    votes: NDArray[Any], concentrations: NDArray[Any], tree: DecisionTree, level: float = 0.9
) -> NDArray[np.float64]:
    """(n, n_answers) share of each vote count's probability that lies in its central predictive interval.

    The prediction for one answer's count among the question's votes is a mixture, over samples, of Beta-binomials.
    Counts are whole numbers, so an interval of counts always holds more than its level; here the count's step of the
    predictive distribution function, from F(k-1) to F(k), is laid over ((1-level)/2, (1+level)/2) and the part inside
    is returned: the expectation of a randomised probability integral transform. Its mean is `level` exactly when the
    predictions are right, whatever the number of votes.

    Parameters
    ----------
    votes
        (n, n_answers) counts.
    concentrations
        (n, n_samples, n_answers).

    Returns
    -------
    Values in [0, 1]; NaN where the question got no votes.
    """
    n, samples, answers = concentrations.shape
    result = np.full((n, answers), np.nan)
    for part in tree.slices:
        totals = votes[:, part].sum(axis=1)
        asked = np.flatnonzero(totals > 0)
        for answer in range(part.start, part.stop):
            step = max(1, CHUNK // (samples * int(totals.max(initial=1) + 1)))
            for start in range(0, len(asked), step):
                rows = asked[start : start + step]
                alpha = concentrations[rows, :, answer].astype(np.float64)
                beta = concentrations[rows, :, part].sum(axis=2, dtype=np.float64) - alpha
                below, at = _distribution(votes[rows, answer], totals[rows], alpha, beta)
                result[rows, answer] = _overlap(below, at, (1 - level) / 2, (1 + level) / 2)
    return result


def _distribution(
    counts: NDArray[Any], totals: NDArray[Any], alpha: NDArray[np.float64], beta: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(K < k) and P(K = k) of the mixture of Beta-binomials, (n,) each."""
    k = np.arange(int(counts.max(initial=0)) + 1)
    size = totals[:, None].astype(np.float64)
    fits = k <= counts[:, None]
    up_to = np.minimum(k, counts[:, None])
    coefficient = gammaln(size + 1) - gammaln(up_to + 1) - gammaln(size - up_to + 1)
    log_each = betaln(up_to[:, None, :] + alpha[:, :, None], (size - up_to)[:, None, :] + beta[:, :, None])
    each = np.exp(coefficient[:, None, :] + log_each - betaln(alpha, beta)[:, :, None]).mean(axis=1)
    at = np.take_along_axis(each, counts[:, None].astype(np.int64), axis=1)[:, 0]
    return np.where(fits, each, 0.0).sum(axis=1) - at, at


def _overlap(below: NDArray[np.float64], at: NDArray[np.float64], lower: float, upper: float) -> NDArray[np.float64]:
    inside = np.minimum(below + at, upper) - np.maximum(below, lower)
    return np.clip(inside / np.maximum(at, np.finfo(np.float64).tiny), 0.0, 1.0)
