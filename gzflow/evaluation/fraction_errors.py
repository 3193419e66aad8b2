"""How far predicted vote fractions are from the volunteers', answer by answer, and how much of that is their noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gzflow.evaluation.bootstrap import Interval, bootstrap_means
from gzflow.evaluation.numbers import mean
from gzflow.evaluation.selection import question_totals, vote_fractions
from gzflow.evaluation.vote_noise import mean_absolute_noise, noise_variance
from gzflow.tree import DecisionTree


@dataclass(frozen=True)
class AnswerScore:
    """One answer, over galaxies with at least `floor` votes for its question; NaN without one.

    Attributes
    ----------
    mae, rmse
        Mean absolute and root mean square difference of predicted and observed fraction, with bootstrap intervals.
    bias
        Mean of predicted minus observed fraction.
    mae_constant, rmse_constant
        Of the constant Dirichlet's mean.
    mae_noise
        The MAE that perfect predictions would have: the volunteers' fraction is a sample of few.
    rmse_corrected
        Root of the mean square error less the votes' binomial variance f (1 - f) / (n - 1): without bias the error
        against what infinitely many volunteers would say; 0 where noise alone is larger.
    mae_corrected
        Root of MAE² - `mae_noise`²: exact where both are Gaussian, an approximation elsewhere.

    Notes
    -----
    The table of gz-evo takes answers with 20 votes or more and means over answers; see `mean_over_answers`.
    """

    question: str
    answer: str
    floor: int
    n: int
    mae: Interval
    rmse: Interval
    bias: float
    mae_constant: float
    rmse_constant: float
    mae_noise: float
    mae_corrected: float
    rmse_corrected: float


def answer_scores(
    predicted: NDArray[Any],
    votes: NDArray[Any],
    tree: DecisionTree,
    constant: NDArray[Any],
    *,
    floor: int = 20,
    resamples: int = 2000,
    seed: int = 42,
) -> tuple[AnswerScore, ...]:
    """One score an answer, in the tree's order.

    Parameters
    ----------
    predicted
        (n, n_answers) vote fractions.
    votes
        (n, n_answers) counts.
    constant
        (n_answers,) fractions that are the same for every galaxy.
    floor
        The fewest votes for the question.
    resamples, seed
        Of the bootstrap over galaxies.
    """
    totals = question_totals(votes, tree)[:, tree.question_of_answer]
    chosen = totals >= max(1, floor)
    observed = np.where(chosen, vote_fractions(votes, tree), 0.0)
    error = np.where(chosen, predicted - observed, 0.0)
    intervals = bootstrap_means(
        np.hstack([np.abs(error), error**2]), np.hstack([chosen, chosen]), resamples=resamples, seed=seed
    )
    noise = mean_absolute_noise(predicted, np.maximum(totals, 1))
    variance = noise_variance(observed, totals)
    scores = []
    for column, name in enumerate(tree.answers):
        rows = chosen[:, column]
        question = tree.questions[int(tree.question_of_answer[column])].name
        absolute, square = intervals[column], intervals[len(tree.answers) + column]
        off = observed[rows, column] - constant[column]
        floor_of_mae = mean(noise[rows, column])
        scores.append(
            AnswerScore(
                question=question,
                answer=name.removeprefix(f"{question}_"),
                floor=max(1, floor),
                n=int(rows.sum()),
                mae=absolute,
                rmse=Interval(square.mean**0.5, square.lower**0.5, square.upper**0.5, square.level),
                bias=mean(error[rows, column]),
                mae_constant=mean(np.abs(off)),
                rmse_constant=mean(off**2) ** 0.5,
                mae_noise=floor_of_mae,
                mae_corrected=_difference(absolute.mean**2, floor_of_mae**2),
                rmse_corrected=_difference(square.mean, mean(variance[rows, column])),
            )
        )
    return tuple(scores)


def mean_over_answers(scores: Sequence[AnswerScore]) -> dict[str, float]:
    """Means of the errors over the answers that have galaxies, each answer counting once; NaN without any."""
    known = [score for score in scores if score.n]
    columns = {
        "mae": [score.mae.mean for score in known],
        "rmse": [score.rmse.mean for score in known],
    } | {
        name: [getattr(score, name) for score in known]
        for name in ("mae_constant", "rmse_constant", "mae_noise", "mae_corrected", "rmse_corrected")
    }
    return {name: mean(np.array(values)) for name, values in columns.items()}


def _difference(square: float, noise: float) -> float:
    # max would return the 0 for a NaN.
    return float(np.sqrt(np.maximum(square - noise, 0.0)))
