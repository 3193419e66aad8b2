"""How often the votes lie within a few votes of the expected number, beside how often they should."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

from gzflow.evaluation.calibration import CHUNK
from gzflow.tree import DecisionTree

DISTANCES = (0, 1, 2, 3, 5, 10)
"""Votes around the expected count."""
DEVIATION = 0.2
"""Vote fraction around the expected one, for which Walmsley et al. 2020 state their coverage error."""


@dataclass(frozen=True)
class DiscreteCoverage:
    """One question: all its answers over the galaxies that count.

    Attributes
    ----------
    n
        Galaxies.
    distances
        Votes.
    expected, observed
        For each distance, the mean predicted probability that a count lies within it of the expected one (rounded to a
        whole number), and the share of counts that do.
    expected_in_deviation, observed_in_deviation
        The same within `DEVIATION` of the galaxy's votes, rounded down to whole votes.

    Notes
    -----
    After the discrete coverage of Walmsley et al. 2020 (MNRAS 491, 1554), whose votes are whole numbers too. Where
    `observed` is below `expected` the model is overconfident.
    """

    question: str
    n: int
    distances: tuple[int, ...]
    expected: NDArray[np.float64]
    observed: NDArray[np.float64]
    expected_in_deviation: float
    observed_in_deviation: float


def discrete_coverage(
    votes: NDArray[Any],
    concentrations: NDArray[Any],
    tree: DecisionTree,
    chosen: NDArray[np.bool_],
    distances: Sequence[int] = DISTANCES,
) -> tuple[DiscreteCoverage, ...]:
    """One entry a question, in the tree's order.

    Parameters
    ----------
    votes
        (n, n_answers) counts.
    concentrations
        (n, n_samples, n_answers).
    chosen
        (n, n_questions) which galaxies count for a question.
    distances
        Ascending, in votes.
    """
    result = []
    for q, (question, part) in enumerate(zip(tree.questions, tree.slices, strict=True)):
        rows = np.flatnonzero(chosen[:, q] & (votes[:, part].sum(axis=1) > 0))
        sums = np.zeros((2, len(distances) + 1))
        step = max(1, CHUNK // max(1, concentrations.shape[1]))
        for start in range(0, len(rows), step):
            sums += _sums(
                votes[rows[start : start + step], part],
                concentrations[rows[start : start + step]][:, :, part],
                distances,
            )
        with np.errstate(invalid="ignore"):
            expected, observed = sums / np.float64(len(rows) * len(question.answers))
        result.append(
            DiscreteCoverage(
                question=question.name,
                n=len(rows),
                distances=tuple(distances),
                expected=expected[:-1],
                observed=observed[:-1],
                expected_in_deviation=float(expected[-1]),
                observed_in_deviation=float(observed[-1]),
            )
        )
    return tuple(result)


def _sums(votes: NDArray[Any], concentrations: NDArray[Any], distances: Sequence[int]) -> NDArray[np.float64]:
    """(2, n_distances + 1) sums of predicted probabilities and of hits over (n, n_answers) counts of one question."""
    totals = votes.sum(axis=1).astype(np.float64)
    allowed = np.floor(DEVIATION * totals + 1e-9)
    sums = np.zeros((2, len(distances) + 1))
    precision = concentrations.sum(axis=2, dtype=np.float64)
    for answer in range(votes.shape[1]):
        alpha = concentrations[:, :, answer].astype(np.float64)
        beta = precision - alpha
        centre = np.rint(totals * (alpha / precision).mean(axis=1))
        reach = [np.full(len(totals), float(distance)) for distance in distances] + [allowed]
        sums[0] += _within(centre, totals, alpha, beta, reach)
        sums[1] += [(np.abs(votes[:, answer] - centre) <= distance).sum() for distance in reach]
    return sums


def _within(
    centre: NDArray[np.float64],
    totals: NDArray[np.float64],
    alpha: NDArray[np.float64],
    beta: NDArray[np.float64],
    reach: Sequence[NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Sums over galaxies of P(|K - centre| <= reach), for each array of reaches.

    The mixture's probabilities are followed from the centre outwards: neighbours differ by a quotient.
    """
    k, n = centre[:, None], totals[:, None]
    log_at = (
        gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + betaln(k + alpha, n - k + beta) - betaln(alpha, beta)
    )
    up = np.exp(log_at)
    down = up.copy()
    mass = up.mean(axis=1)
    sums = np.zeros(len(reach))
    furthest = int(max(distance.max(initial=0) for distance in reach))
    for distance in range(furthest + 1):
        sums += [mass[each == distance].sum() for each in reach]
        if distance == furthest:
            break
        # Beyond 0 and n the probability is 0; the quotients there may divide by 0.
        j = k + distance
        up = np.where(j < n, up * (n - j) * (j + alpha) / ((j + 1) * np.maximum(n - j - 1 + beta, 1e-300)), 0.0)
        j = k - distance
        down = np.where(j > 0, down * j * (n - j + beta) / ((n - j + 1) * np.maximum(j - 1 + alpha, 1e-300)), 0.0)
        mass = mass + (up + down).mean(axis=1)
    return sums
