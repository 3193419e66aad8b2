"""Whether a challenger should become champion: the decision, from scores alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gzflow.errors import EvaluationError
from gzflow.evaluation.bootstrap import Interval
from gzflow.evaluation.calibration import covered
from gzflow.evaluation.comparison import RESAMPLES, TOTAL, PairedGain, paired_gains
from gzflow.evaluation.likelihood import mixture_nll
from gzflow.evaluation.numbers import mean, number, percent
from gzflow.evaluation.selection import selected
from gzflow.tree import DecisionTree

LEVEL = 0.9
TOLERANCE = 0.03
"""How far from `LEVEL` the coverage of a question's 90 % intervals may be."""
CALIBRATED_FROM = 500
"""Galaxies that a question needs before its coverage can refuse a model: with 500, chance alone moves it by 0.013."""
FEWEST = 50
"""Galaxies that both must be scored on: with fewer, a bootstrap of a skewed difference promises more than it holds."""


@dataclass(frozen=True)
class ModelScores:
    """What one model scores, galaxy by galaxy.

    Attributes
    ----------
    nll
        (n, n_questions) negative log-likelihood of the votes in nats, 0 where a question got none.
    inside
        (n, n_questions) share of the question's vote counts inside their 90 % predictive intervals, in [0, 1]; NaN
        where the question got too few votes to count.
    """

    nll: NDArray[np.float64]
    inside: NDArray[np.float64]

    @classmethod
    def of(cls, concentrations: NDArray[Any], votes: NDArray[Any], tree: DecisionTree, floor: int = 10) -> Self:
        """Scores of (n, n_samples, n_answers) concentrations against (n, n_answers) votes.

        Parameters
        ----------
        floor
            The fewest votes that a question needs for a galaxy to count for it.
        """
        hit = covered(votes, concentrations, tree, LEVEL)
        inside = np.stack([hit[:, part].mean(axis=1) for part in tree.slices], axis=1)
        inside[~selected(votes, tree, "asked", floor)] = np.nan
        return cls(mixture_nll(votes, concentrations, tree), inside)


@dataclass(frozen=True)
class QuestionVerdict:
    """One row of a decision's table.

    Attributes
    ----------
    question
        Its name, or ``all questions``.
    n
        Galaxies that count: with enough votes for the question, or all.
    nll, nll_champion
        Mean NLL in nats a galaxy.
    gain
        ``nll_champion - nll``: above 0, the challenger is better. 95 % paired bootstrap interval.
    coverage, coverage_champion
        Share of vote counts inside their 90 % predictive intervals.
    calibrated
        Whether the challenger's coverage is within `TOLERANCE`, or else no worse than the champion's; None where fewer
        than `CALIBRATED_FROM` galaxies cannot tell, and in the total, which decides by its gain alone.
    """

    question: str
    n: int
    nll: float
    nll_champion: float
    gain: Interval
    coverage: float
    coverage_champion: float
    calibrated: bool | None


@dataclass(frozen=True)
class PromotionDecision:
    """A decision with all that it rests on.

    Attributes
    ----------
    promote
        Whether the challenger should become champion.
    reasons
        In words; the first says how the likelihoods compare, the rest is about calibration and remarks.
    rows
        The total, then one row a question; empty when nothing could be compared.
    n_galaxies
        Galaxies that both models were scored on.
    resamples, seed
        Of the bootstrap.
    """

    promote: bool
    reasons: tuple[str, ...]
    rows: tuple[QuestionVerdict, ...] = ()
    n_galaxies: int = 0
    resamples: int = RESAMPLES
    seed: int = 42

    def table(self) -> list[dict[str, Any]]:
        """One flat mapping a row, ready for JSON: a number that is not known is None."""
        return [
            {
                "question": row.question,
                "galaxies": row.n,
                "NLL": _known(row.nll),
                "NLL champion": _known(row.nll_champion),
                "gain": _known(row.gain.mean),
                "gain lower": _known(row.gain.lower),
                "gain upper": _known(row.gain.upper),
                "coverage90": _known(row.coverage),
                "coverage90 champion": _known(row.coverage_champion),
                "calibrated": {True: "yes", False: "no", None: "" if row.question == TOTAL else "too few"}[
                    row.calibrated
                ],
            }
            for row in self.rows
        ]

    def readable(self) -> list[dict[str, str]]:
        """The same for people: rounded, intervals in one cell, a dash for what is not known; before is the champion."""
        return [
            {
                "question": row.question,
                "n": f"{row.n:,}",
                "NLL": number(row.nll),
                "NLL before": number(row.nll_champion),
                "gain (95 %)": f"{signed(row.gain.mean)} ({signed(row.gain.lower)} to {signed(row.gain.upper)})"
                if row.n
                else "–",
                "90 % holds": percent(row.coverage),
                "held before": percent(row.coverage_champion),
                "calibrated": str(flat["calibrated"]),
            }
            for row, flat in zip(self.rows, self.table(), strict=True)
        ]


def decide(
    challenger: ModelScores,
    champion: ModelScores,
    questions: Sequence[str],
    *,
    fewest: int = FEWEST,
    calibrated_from: int = CALIBRATED_FROM,
    tolerance: float = TOLERANCE,
    resamples: int = RESAMPLES,
    seed: int = 42,
) -> PromotionDecision:
    """Whether a challenger should take the champion's place.

    It should when both hold:

    1. It is better: the 95 % paired bootstrap interval of its gain in total NLL lies above 0. A tie leaves the
       champion where it is, because every change asks users to remake their catalogues; an equally good model passes
       by chance in one case of forty. (A one-sided 95 % would pass one in twenty, and every other interval that gzflow
       shows is this one.)
    2. It is calibrated: on every question with at least `calibrated_from` galaxies, the coverage of its 90 % intervals
       is within `tolerance` of 0.90, or no farther from it than the champion's.

    Parameters
    ----------
    challenger, champion
        Scores of the same galaxies, in the same order.
    questions
        Names, in the order of the columns.
    fewest
        With fewer galaxies the answer is no.

    Raises
    ------
    EvaluationError
        Scores that are not of the same galaxies and questions, or not finite.
    """
    if not np.array_equal(np.isnan(challenger.inside), np.isnan(champion.inside)):
        raise EvaluationError(
            "the scores of two models are not of the same galaxies",
            expected="the same galaxies counting for the same questions",
            fix="score both models against the same votes, in the same order",
        )
    counted = ~np.isnan(challenger.inside)
    gains = paired_gains(champion.nll, challenger.nll, counted, questions, resamples=resamples, seed=seed)
    rows = [_total(gains[0], challenger, champion)]
    for q, gain in enumerate(gains[1:]):
        now, before = (mean(scores.inside[counted[:, q], q]) for scores in (challenger, champion))
        enough = gain.n >= max(1, calibrated_from)
        rows.append(_row(gain, now, before, calibrated=_calibrated(now, before, tolerance) if enough else None))
    better, first = _better(gains[0], fewest)
    reasons = [first, *_calibration(rows[1:], calibrated_from, tolerance)]
    return PromotionDecision(
        promote=better and all(row.calibrated is not False for row in rows),
        reasons=tuple(reasons),
        rows=tuple(rows),
        n_galaxies=gains[0].n,
        resamples=resamples,
        seed=seed,
    )


def _total(gain: PairedGain, challenger: ModelScores, champion: ModelScores) -> QuestionVerdict:
    now, before = (mean(scores.inside[~np.isnan(scores.inside)]) for scores in (challenger, champion))
    return _row(gain, now, before, calibrated=None)


def _row(gain: PairedGain, coverage: float, coverage_champion: float, *, calibrated: bool | None) -> QuestionVerdict:
    return QuestionVerdict(
        question=gain.question,
        n=gain.n,
        nll=gain.second,
        nll_champion=gain.first,
        gain=gain.gain,
        coverage=coverage,
        coverage_champion=coverage_champion,
        calibrated=calibrated,
    )


def _calibrated(coverage: float, before: float, tolerance: float) -> bool:
    # 0.93 - 0.90 is a hair more than 0.03.
    return abs(coverage - LEVEL) <= max(tolerance, abs(before - LEVEL)) + 1e-9


def _better(total: PairedGain, fewest: int) -> tuple[bool, str]:
    if total.n < fewest:
        how_many = f"only {total.n}" if total.n else "no"
        return False, f"{how_many} test galaxies in common; a decision needs {fewest}"
    scores = (
        f"NLL {total.second:.3f} against {total.first:.3f} on {total.n:,} test galaxies, gain {signed(total.gain.mean)}"
        f" nats a galaxy (95 % {signed(total.gain.lower)} to {signed(total.gain.upper)})"
    )
    words = {"second": "better", "first": "worse", "neither": "not shown to be better"}
    return total.better == "second", f"{words[total.better]}: {scores}"


def _calibration(rows: Sequence[QuestionVerdict], calibrated_from: int, tolerance: float) -> list[str]:
    checked = [row for row in rows if row.calibrated is not None]
    if not checked:
        return [f"calibration was not checked: no question has {calibrated_from} test galaxies"]
    reasons = []
    for row in checked:
        if abs(row.coverage - LEVEL) > tolerance + 1e-9:
            comparison = "no worse than before" if row.calibrated else "worse than before"
            reasons.append(
                f"{row.question}: its 90 % intervals hold {100 * row.coverage:.1f} % of the votes, the champion's"
                f" {100 * row.coverage_champion:.1f} %: more than {100 * tolerance:g} points off and {comparison}"
                f" ({row.n:,} galaxies)"
            )
    return reasons or [
        f"calibrated: within {100 * tolerance:g} points of 90 % on {len(checked)} of {len(rows)} questions (the others"
        f" have fewer than {calibrated_from} test galaxies)"
        if len(checked) < len(rows)
        else f"calibrated: within {100 * tolerance:g} points of 90 % on every question"
    ]


def signed(value: float) -> str:
    """A difference with its sign, three decimals."""
    return f"{value:+.3f}".replace("-", "−")


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
