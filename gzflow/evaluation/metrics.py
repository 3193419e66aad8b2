"""How good predictions are on galaxies whose votes are known, always beside what a constant would score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gzflow.errors import EvaluationError
from gzflow.evaluation.bootstrap import Interval, bootstrap_means
from gzflow.evaluation.calibration import covered
from gzflow.evaluation.confusion import ConfusionMatrix, confusion_matrices
from gzflow.evaluation.likelihood import log_likelihood, mixture_nll
from gzflow.evaluation.selection import SELECTIONS, Selection, question_totals, selected, vote_fractions
from gzflow.posterior import fractions as mean_fractions
from gzflow.tree import DecisionTree

LEVEL = 0.9
"""Level of the predictive intervals whose coverage is reported."""


@dataclass(frozen=True)
class QuestionScore:
    """One question over one selection of test galaxies.

    Attributes
    ----------
    n
        Galaxies that count; all else is NaN when there is none.
    nll, nll_constant, nll_majority
        Mean negative log-likelihood (nats a galaxy) of the model, of the constant Dirichlet fitted to the training
        votes, and of "always the majority answer": that Dirichlet's precision, its largest mean on the commonest
        answer and the rest shared equally. With two answers the two constants are the same.
    gain
        ``nll_constant - nll``, with a 95 % paired bootstrap interval over galaxies.
    accuracy, majority_accuracy, majority_answer, macro_f1
        Of the first answers; the majority answer is the commonest among these galaxies, so no constant beats it.
    n_fractions, mae, rmse, mae_constant, rmse_constant
        Over galaxies with at least `fraction_floor` votes: errors of the vote fractions, averaged over galaxies and
        answers, of the model and of the constant Dirichlet's means.
    coverage
        Share of the vote counts inside their 90 % predictive interval; 0.90 is right.
    """

    question: str
    selection: Selection
    floor: int
    n: int
    nll: float
    nll_constant: float
    nll_majority: float
    gain: Interval
    accuracy: float
    majority_accuracy: float
    majority_answer: str | None
    macro_f1: float
    fraction_floor: int
    n_fractions: int
    mae: float
    rmse: float
    mae_constant: float
    rmse_constant: float
    coverage: float

    @property
    def skill(self) -> float:
        """Share of the constant Dirichlet's NLL that the model saves: 0 is no better, negative is worse."""
        return 1 - self.nll / self.nll_constant


@dataclass(frozen=True)
class TotalScore:
    """All questions together, over every test galaxy with a vote, without a vote floor.

    Attributes
    ----------
    nll, nll_constant, nll_majority
        Sums over questions, means over galaxies (nats): the training loss and its baselines.
    gain
        ``nll_constant - nll`` with a 95 % paired bootstrap interval.
    mae, mae_constant
        Mean over answers of the error of vote fractions, over galaxies with at least the fraction floor of votes for
        the question.
    coverage
        Share of the vote counts, over questions with at least the floor of votes, inside their 90 % predictive
        interval.
    """

    n: int
    nll: float
    nll_constant: float
    nll_majority: float
    gain: Interval
    mae: float
    mae_constant: float
    coverage: float

    @property
    def skill(self) -> float:
        """Share of the constant Dirichlet's NLL that the model saves."""
        return 1 - self.nll / self.nll_constant


@dataclass(frozen=True)
class Evaluation:
    """Scores of one set of predictions.

    Attributes
    ----------
    n_galaxies, n_unvoted, n_samples
        Galaxies given, those without any vote (they count nowhere), and head samples a galaxy.
    questions
        One score per question and selection, questions in the tree's order.
    confusions
        One matrix a question over the half-asked galaxies.
    resamples, seed
        Of the bootstrap.
    """

    n_galaxies: int
    n_unvoted: int
    n_samples: int
    floor: int
    fraction_floor: int
    resamples: int
    seed: int
    total: TotalScore
    questions: tuple[QuestionScore, ...]
    confusions: tuple[ConfusionMatrix, ...]

    def over(self, selection: Selection) -> tuple[QuestionScore, ...]:
        """Scores of one selection, in the tree's order."""
        return tuple(score for score in self.questions if score.selection == selection)

    def metrics(self, prefix: str = "test") -> dict[str, float]:
        """Finite numbers under names that tracking accepts: totals, and half-asked scores by question.

        The other selections are left to tables: three times as many curves would bury these.
        """
        return {f"{prefix}/{name}": float(value) for name, value in self._named() if np.isfinite(value)}

    def _named(self) -> Iterator[tuple[str, float]]:
        yield "galaxies", self.total.n
        yield "nll", self.total.nll
        yield "nll-constant", self.total.nll_constant
        yield "nll-majority", self.total.nll_majority
        yield "skill", self.total.skill
        yield "gain", self.total.gain.mean
        yield "gain-lower", self.total.gain.lower
        yield "gain-upper", self.total.gain.upper
        yield "mae", self.total.mae
        yield "coverage90", self.total.coverage
        for score in self.over("half-asked"):
            values = {
                "galaxies": score.n,
                "nll": score.nll,
                "nll-constant": score.nll_constant,
                "skill": score.skill,
                "accuracy": score.accuracy,
                "majority-accuracy": score.majority_accuracy,
                "macro-f1": score.macro_f1,
                "mae": score.mae,
                "rmse": score.rmse,
                "coverage90": score.coverage,
            }
            for name, value in values.items():
                yield f"{name}/{score.question}", value


def evaluate(
    concentrations: NDArray[Any],
    votes: NDArray[Any],
    tree: DecisionTree,
    baseline_concentrations: NDArray[Any],
    *,
    floor: int = 10,
    fraction_floor: int = 20,
    resamples: int = 2000,
    seed: int = 42,
) -> Evaluation:
    """Scores of predictions against votes, per question and selection.

    Parameters
    ----------
    concentrations
        (n, n_samples, n_answers) predicted concentrations.
    votes
        (n, n_answers) counts of the same galaxies, in the same order.
    baseline_concentrations
        (n_answers,) the constant Dirichlet fitted to the training votes.
    floor
        The fewest votes that a question needs for a galaxy to count.
    fraction_floor
        The same for errors of vote fractions: with few votes the volunteers' own fraction is noise.
    resamples, seed
        Of the bootstrap.

    Raises
    ------
    EvaluationError
        All that is wrong with the arrays, at once.
    """
    concentrations, votes = np.asarray(concentrations), np.asarray(votes)
    baseline = np.asarray(baseline_concentrations, dtype=np.float64)
    _check(concentrations, votes, baseline, tree)
    predicted = mean_fractions(concentrations, tree)
    observed = vote_fractions(votes, tree)
    nll = {
        "model": mixture_nll(votes, concentrations, tree),
        "constant": -log_likelihood(votes, baseline, tree),
        "majority": -log_likelihood(votes, majority_concentrations(baseline, tree), tree),
    }
    inside = covered(votes, concentrations, tree, LEVEL)
    constant = baseline / np.add.reduceat(baseline, [p.start for p in tree.slices])[tree.question_of_answer]
    chosen = {selection: selected(votes, tree, selection, floor) for selection in SELECTIONS}
    voted = votes.sum(axis=1) > 0
    gain = nll["constant"] - nll["model"]
    intervals = bootstrap_means(
        np.hstack([gain.sum(axis=1, keepdims=True), *[gain] * len(SELECTIONS)]),
        np.hstack([voted[:, None], *chosen.values()]),
        resamples=resamples,
        seed=seed,
    )
    totals = question_totals(votes, tree)
    scores = []
    confusions: dict[Selection, tuple[ConfusionMatrix, ...]] = {
        selection: confusion_matrices(predicted, votes, tree, selection=selection, floor=floor)
        for selection in SELECTIONS
    }
    for q, part in enumerate(tree.slices):
        for s, selection in enumerate(SELECTIONS):
            rows = chosen[selection][:, q]
            matrix = confusions[selection][q]
            many = rows & (totals[:, q] >= fraction_floor)
            error = predicted[many, part] - observed[many, part]
            error_constant = constant[part] - observed[many, part]
            scores.append(
                QuestionScore(
                    question=matrix.question,
                    selection=selection,
                    floor=floor,
                    n=matrix.n,
                    nll=_mean(nll["model"][rows, q]),
                    nll_constant=_mean(nll["constant"][rows, q]),
                    nll_majority=_mean(nll["majority"][rows, q]),
                    gain=intervals[1 + s * len(tree.questions) + q],
                    accuracy=matrix.accuracy,
                    majority_accuracy=matrix.majority_accuracy,
                    majority_answer=matrix.majority_answer,
                    macro_f1=matrix.macro_f1,
                    fraction_floor=fraction_floor,
                    n_fractions=int(many.sum()),
                    mae=_mean(np.abs(error)),
                    rmse=_mean(error**2) ** 0.5,
                    mae_constant=_mean(np.abs(error_constant)),
                    rmse_constant=_mean(error_constant**2) ** 0.5,
                    coverage=_mean(inside[rows, part]),
                )
            )
    asked = (score for score in scores if score.selection == "asked")
    sized = [(score, len(question.answers)) for score, question in zip(asked, tree.questions, strict=True)]
    return Evaluation(
        n_galaxies=len(votes),
        n_unvoted=int((~voted).sum()),
        n_samples=concentrations.shape[1],
        floor=floor,
        fraction_floor=fraction_floor,
        resamples=resamples,
        seed=seed,
        total=TotalScore(
            n=int(voted.sum()),
            nll=_mean(nll["model"][voted].sum(axis=1)),
            nll_constant=_mean(nll["constant"][voted].sum(axis=1)),
            nll_majority=_mean(nll["majority"][voted].sum(axis=1)),
            gain=intervals[0],
            mae=_over_answers([(score.mae, size) for score, size in sized]),
            mae_constant=_over_answers([(score.mae_constant, size) for score, size in sized]),
            coverage=_mean(inside[chosen["asked"][:, tree.question_of_answer]]),
        ),
        questions=tuple(scores),
        confusions=confusions["half-asked"],
    )


def majority_concentrations(baseline: NDArray[np.float64], tree: DecisionTree) -> NDArray[np.float64]:
    """(n_answers,) "always the majority answer" as concentrations, so that it can be scored by likelihood.

    A bare one-hot answer would score minus infinity at the first dissenting vote. This keeps the constant Dirichlet's
    precision and its largest mean for the commonest answer, and shares the rest equally.
    """
    result = np.empty_like(baseline)
    for part in tree.slices:
        alpha = baseline[part]
        result[part] = (alpha.sum() - alpha.max()) / (len(alpha) - 1)
        result[part.start + int(alpha.argmax())] = alpha.max()
    return result


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _over_answers(errors: list[tuple[float, int]]) -> float:
    known = [(error, size) for error, size in errors if np.isfinite(error)]
    return sum(error * size for error, size in known) / sum(size for _, size in known) if known else float("nan")


def _check(
    concentrations: NDArray[Any], votes: NDArray[Any], baseline: NDArray[np.float64], tree: DecisionTree
) -> None:
    answers = len(tree.answers)
    problems = []
    if concentrations.ndim != 3 or concentrations.shape[-1] != answers or 0 in concentrations.shape[1:]:
        problems.append(f"concentrations have shape {concentrations.shape}, not (n_galaxies, n_samples, {answers})")
    elif not (np.isfinite(concentrations) & (concentrations > 0)).all():
        wrong = ~(np.isfinite(concentrations) & (concentrations > 0)).all(axis=(1, 2))
        problems.append(
            f"concentrations of {int(wrong.sum())} galaxies, the first at index {int(wrong.argmax())},"
            " are not all finite and above 0"
        )
    if votes.ndim != 2 or votes.shape[-1] != answers:
        problems.append(f"votes have shape {votes.shape}, not (n_galaxies, {answers})")
    elif not np.issubdtype(votes.dtype, np.integer):
        problems.append(f"votes are {votes.dtype}, not whole numbers")
    elif (votes < 0).any():
        problems.append(f"{int((votes < 0).sum())} vote counts are below 0")
    if votes.ndim and concentrations.ndim and len(votes) != len(concentrations):
        problems.append(f"{len(concentrations)} galaxies have concentrations but {len(votes)} have votes")
    if baseline.shape != (answers,) or not (np.isfinite(baseline) & (baseline > 0)).all():
        problems.append(f"the baseline has shape {baseline.shape}, not ({answers},) finite values above 0")
    if len(votes) == 0:
        problems.append("there is no test galaxy")
    if problems:
        raise EvaluationError(
            "predictions and votes cannot be compared",
            problems=problems,
            expected=f"one row a test galaxy and {answers} answers in the tree's order",
            fix="pass the concentrations and votes of the same shards, and training's constant Dirichlet",
        )
