"""Two models on the same galaxies: what one gains over the other, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gzflow.errors import EvaluationError
from gzflow.evaluation.bootstrap import Interval, bootstrap_means
from gzflow.evaluation.numbers import number, percent
from gzflow.evaluation.slices import GalaxyScores

TOTAL = "all questions"
RESAMPLES = 2000
Verdict = Literal["second", "first", "neither"]


@dataclass(frozen=True)
class PairedChange:
    """A score of two models on the same galaxies; `change` is ``second - first`` with its paired bootstrap interval."""

    first: float
    second: float
    change: Interval


@dataclass(frozen=True)
class PairedGain:
    """Scores of two models on the same galaxies, for one question or in total.

    Attributes
    ----------
    question
        Its name, or `TOTAL`.
    n
        Galaxies that count.
    first, second
        Mean NLL of each in nats a galaxy; NaN without a galaxy.
    gain
        ``first - second`` with its 95 % paired bootstrap interval: above 0, the second model is better.
    agreement, mae, coverage
        Share of first answers that are the volunteers'; mean absolute error of the vote fractions; share of the vote
        counts inside their 90 % predictive intervals. In total: the mean over galaxies and the questions that they
        count for. NaN where the scores of a run do not tell.
    """

    question: str
    n: int
    first: float
    second: float
    gain: Interval
    agreement: PairedChange
    mae: PairedChange
    coverage: PairedChange

    @property
    def better(self) -> Verdict:
        """Which model is better: the one that the whole interval speaks for, or neither."""
        return "second" if self.gain.lower > 0 else "first" if self.gain.upper < 0 else "neither"


def paired_gains(
    first: GalaxyScores,
    second: GalaxyScores,
    questions: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 42,
) -> tuple[PairedGain, ...]:
    """The total over all galaxies, then one entry a question.

    Parameters
    ----------
    first, second
        Scores of the same galaxies, in the same order. The total NLL is the sum over questions of every galaxy, whether
        it counts for them or not.
    resamples, seed
        Of the bootstrap, which draws galaxies whole.

    Raises
    ------
    EvaluationError
        Scores that do not fit together, or NLLs that are not finite.
    """
    shape = (len(first.nll), len(questions))
    models = {"the first": first, "the second": second}
    problems = [
        f"{name} of {model} has shape {array.shape}, not (n_galaxies, n_questions) = {shape}"
        for model, scores in models.items()
        for name in ("counted", "nll", "agrees", "error", "inside")
        if (array := getattr(scores, name)).shape != shape
    ]
    if not problems and not np.array_equal(first.counted, second.counted):
        problems.append("other galaxies count for the questions of the second than of the first")
    problems += [
        f"{int((~np.isfinite(scores.nll)).any(axis=-1).sum())} galaxies of {model} have an NLL that is not finite"
        for model, scores in models.items()
        if not np.isfinite(scores.nll).all()
    ]
    if problems:
        raise EvaluationError(
            "the scores of two models cannot be compared",
            problems=problems,
            expected="finite NLLs of the same galaxies and questions, in the same order, counted alike",
            fix="score both models against the same votes, in the same order",
        )
    counted = first.counted
    times = np.hstack([counted.sum(axis=1, keepdims=True), counted]).astype(np.float64)
    everyone = np.hstack([np.ones((shape[0], 1)), counted])
    columns = [_columns(scores) for scores in (first, second)]
    chosen = np.hstack([everyone, times, times, times])
    found = bootstrap_means(columns[1] - columns[0], chosen, resamples=resamples, seed=seed)
    n, width = chosen.sum(axis=0), len(questions) + 1
    with np.errstate(invalid="ignore", divide="ignore"):
        one, two = (np.where(chosen > 0, values, 0.0).sum(axis=0) / n for values in columns)

    def change(i: int) -> PairedChange:
        return PairedChange(float(one[i]), float(two[i]), found[i])

    return tuple(
        PairedGain(
            question=name,
            n=int(everyone[:, i].sum()),
            first=float(one[i]),
            second=float(two[i]),
            gain=Interval(-found[i].mean, -found[i].upper, -found[i].lower, found[i].level),
            agreement=change(width + i),
            mae=change(2 * width + i),
            coverage=change(3 * width + i),
        )
        for i, name in enumerate((TOTAL, *questions))
    )


def change_rows(gains: Sequence[PairedGain]) -> list[dict[str, str]]:
    """Agreement, errors and coverage of the second model for people, each beside its change from the first."""
    return [
        {
            "question": gain.question,
            "agree": percent(gain.agreement.second),
            "agree change (95 %)": _change(gain.agreement, "{:+.1f}", 100),
            "MAE": number(gain.mae.second),
            "MAE change (95 %)": _change(gain.mae, "{:+.3f}"),
            "90 % holds": percent(gain.coverage.second),
            "holds change (95 %)": _change(gain.coverage, "{:+.1f}", 100),
        }
        for gain in gains
    ]


def _columns(scores: GalaxyScores) -> NDArray[np.float64]:
    """The total and the questions, of NLL, agreement, error and coverage in turn: (n, 4 x (1 + n_questions))."""
    parts = [scores.nll.sum(axis=1, keepdims=True), scores.nll]
    for values in (scores.agrees, scores.error, scores.inside):
        parts += [np.where(scores.counted, values, 0.0).sum(axis=1, keepdims=True), values]
    return np.hstack(parts)


def _change(found: PairedChange, form: str, scale: float = 1.0) -> str:
    change = found.change
    if not np.isfinite(change.mean):
        return "–"
    mean, lower, upper = (form.format(scale * value) for value in (change.mean, change.lower, change.upper))
    return f"{mean} ({lower}, {upper})".replace("-", "−")
