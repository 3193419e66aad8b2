"""Whether the predictions of one question may be believed: coverage, transforms, reliability, sharpness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gzflow.evaluation.calibration import LEVELS, CountSteps
from gzflow.evaluation.discrete_coverage import DiscreteCoverage, discrete_coverage
from gzflow.evaluation.numbers import mean
from gzflow.evaluation.selection import vote_fractions
from gzflow.posterior import fractions, variances
from gzflow.tree import DecisionTree

BINS = 20
"""Of the histogram of transforms."""
RELIABILITY_BINS = 10


@dataclass(frozen=True)
class QuestionCalibration:
    """One question: all its answers over every galaxy with at least `floor` votes for it; NaN without one.

    Attributes
    ----------
    coverage
        By level: share of the vote counts inside their predictive intervals; right where it equals the level.
    pit
        (`BINS`,) how many randomised probability integral transforms lie in each equal part of [0, 1].
    pit_distance
        Largest distance of their distribution from the uniform one (Kolmogorov-Smirnov).
    reliability_error
        Mean distance of predicted and observed fraction in ten bins of the predicted one, weighted by their sizes.
    sharpness, sharpness_constant
        Mean standard deviation of the predicted vote fractions, and that of the constant Dirichlet: of two calibrated
        models the one with the smaller says more.
    discrete
        Coverage within so many votes.
    """

    question: str
    floor: int
    n: int
    coverage: Mapping[float, float]
    pit: NDArray[np.int64]
    pit_distance: float
    reliability_error: float
    sharpness: float
    sharpness_constant: float
    discrete: DiscreteCoverage


def question_calibrations(
    concentrations: NDArray[Any],
    votes: NDArray[Any],
    tree: DecisionTree,
    baseline: NDArray[Any],
    steps: CountSteps,
    chosen: NDArray[np.bool_],
    *,
    floor: int,
    seed: int = 42,
) -> tuple[QuestionCalibration, ...]:
    """One entry a question, in the tree's order.

    Parameters
    ----------
    concentrations, votes
        (n, n_samples, n_answers) and (n, n_answers).
    baseline
        (n_answers,) concentrations of the constant Dirichlet.
    steps
        Of these votes under these concentrations.
    chosen
        (n, n_questions) which galaxies count for a question; `floor` is the fewest votes that they have.
    seed
        Of the randomised transforms.
    """
    predicted, observed = fractions(concentrations, tree), vote_fractions(votes, tree)
    spread = np.sqrt(variances(concentrations, tree))
    spread_constant = np.sqrt(variances(baseline[None, None], tree))[0]
    transforms = steps.transforms(seed)
    inside = {level: steps.inside(level) for level in LEVELS}
    discrete = discrete_coverage(votes, concentrations, tree, chosen)
    result = []
    for q, (question, part) in enumerate(zip(tree.questions, tree.slices, strict=True)):
        rows = chosen[:, q]
        values = transforms[rows, part].ravel()
        result.append(
            QuestionCalibration(
                question=question.name,
                floor=floor,
                n=int(rows.sum()),
                coverage={level: mean(share[rows, part]) for level, share in inside.items()},
                pit=np.histogram(values, BINS, (0, 1))[0],
                pit_distance=_distance(values),
                reliability_error=_reliability_error(predicted[rows, part].ravel(), observed[rows, part].ravel()),
                sharpness=mean(spread[rows, part]),
                sharpness_constant=float(spread_constant[part].mean()),
                discrete=discrete[q],
            )
        )
    return tuple(result)


def _distance(transforms: NDArray[np.float64]) -> float:
    n = len(transforms)
    if not n:
        return float("nan")
    ordered = np.sort(transforms)
    ranks = np.arange(n + 1) / n
    return float(max((ranks[1:] - ordered).max(), (ordered - ranks[:-1]).max()))


def _reliability_error(predicted: NDArray[np.float64], observed: NDArray[np.float64]) -> float:
    if not len(predicted):
        return float("nan")
    bins = np.clip((predicted * RELIABILITY_BINS).astype(int), 0, RELIABILITY_BINS - 1)
    return float(np.abs(np.bincount(bins, predicted - observed, RELIABILITY_BINS)).sum() / len(predicted))
