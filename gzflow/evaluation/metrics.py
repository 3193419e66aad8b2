"""How good predictions are on galaxies whose votes are known, always beside what a constant would score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gzflow.errors import EvaluationError
from gzflow.evaluation.bootstrap import bootstrap_means
from gzflow.evaluation.calibration import predictive_steps
from gzflow.evaluation.confusion import ConfusionMatrix, confusion_matrices
from gzflow.evaluation.fraction_errors import answer_scores, mean_over_answers
from gzflow.evaluation.likelihood import log_likelihood, mixture_nll
from gzflow.evaluation.numbers import mean
from gzflow.evaluation.question_calibration import question_calibrations
from gzflow.evaluation.scores import Evaluation, QuestionScore, TotalScore
from gzflow.evaluation.selection import SELECTIONS, Selection, floor_of, question_totals, selected, vote_fractions
from gzflow.posterior import fractions as mean_fractions
from gzflow.tree import DecisionTree

__all__ = ["Evaluation", "QuestionScore", "TotalScore", "evaluate", "majority_concentrations"]


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
    steps = predictive_steps(votes, concentrations, tree)
    inside = steps.inside()
    constant = baseline / np.add.reduceat(baseline, [p.start for p in tree.slices])[tree.question_of_answer]
    chosen = {selection: selected(votes, tree, selection, floor) for selection in SELECTIONS}
    voted = votes.sum(axis=1) > 0
    gain = nll["constant"] - nll["model"]
    totals = question_totals(votes, tree)
    by_question = [
        np.stack([values[:, part].mean(axis=1) for part in tree.slices], axis=1)
        for values in (np.abs(predicted - observed), inside)
    ]
    many = {selection: rows & (totals >= fraction_floor) for selection, rows in chosen.items()}
    columns, counted = [gain.sum(axis=1, keepdims=True)], [voted[:, None]]
    for selection in SELECTIONS:
        columns += [gain, *by_question]
        counted += [chosen[selection], many[selection], chosen[selection]]
    intervals = bootstrap_means(np.hstack(columns), np.hstack(counted), resamples=resamples, seed=seed)
    scores = []
    confusions: dict[Selection, tuple[ConfusionMatrix, ...]] = {
        selection: confusion_matrices(predicted, votes, tree, selection=selection, floor=floor)
        for selection in SELECTIONS
    }
    for q, part in enumerate(tree.slices):
        for s, selection in enumerate(SELECTIONS):
            rows = chosen[selection][:, q]
            matrix = confusions[selection][q]
            voiced = many[selection][:, q]
            error = predicted[voiced, part] - observed[voiced, part]
            error_constant = constant[part] - observed[voiced, part]
            gained, off, held = (intervals[1 + (3 * s + kind) * len(tree.questions) + q] for kind in range(3))
            scores.append(
                QuestionScore(
                    question=matrix.question,
                    selection=selection,
                    floor=floor_of(selection, floor),
                    n=matrix.n,
                    nll=mean(nll["model"][rows, q]),
                    nll_constant=mean(nll["constant"][rows, q]),
                    nll_majority=mean(nll["majority"][rows, q]),
                    gain=gained,
                    accuracy=matrix.accuracy,
                    majority_accuracy=matrix.majority_accuracy,
                    majority_answer=matrix.majority_answer,
                    macro_f1=matrix.macro_f1,
                    weighted_f1=matrix.weighted_f1,
                    agreement=matrix.agreement(resamples=resamples, seed=seed),
                    fraction_floor=fraction_floor,
                    n_fractions=int(voiced.sum()),
                    mae=mean(np.abs(error)),
                    rmse=mean(error**2) ** 0.5,
                    mae_constant=mean(np.abs(error_constant)),
                    rmse_constant=mean(error_constant**2) ** 0.5,
                    mae_interval=off,
                    coverage=mean(inside[rows, part]),
                    coverage_interval=held,
                )
            )
    answers = answer_scores(predicted, votes, tree, constant, floor=fraction_floor, resamples=resamples, seed=seed)
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
            nll=mean(nll["model"][voted].sum(axis=1)),
            nll_constant=mean(nll["constant"][voted].sum(axis=1)),
            nll_majority=mean(nll["majority"][voted].sum(axis=1)),
            gain=intervals[0],
            **mean_over_answers(answers),
            coverage=mean(inside[chosen["asked"][:, tree.question_of_answer]]),
        ),
        questions=tuple(scores),
        confusions=confusions["half-asked"],
        answers=answers,
        calibrations=question_calibrations(
            concentrations, votes, tree, baseline, steps, chosen["asked"], floor=floor, seed=seed
        ),
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
