"""Whether a challenger should become champion: the decision, from scores alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gzflow.evaluation.bootstrap import Interval
from gzflow.evaluation.comparison import RESAMPLES, TOTAL, PairedChange, PairedGain, change_rows, paired_gains
from gzflow.evaluation.numbers import number, percent
from gzflow.evaluation.slices import GalaxyScores

LEVEL = 0.9
TOLERANCE = 0.03
"""How far from `LEVEL` the coverage of a question's 90 % intervals may be."""
CALIBRATED_FROM = 500
"""Galaxies that a question needs before its coverage can refuse a model: with 500, chance alone moves it by 0.013."""
FEWEST = 50
"""Galaxies that both must be scored on: with fewer, a bootstrap of a skewed difference promises more than it holds."""


@dataclass(frozen=True)
class QuestionVerdict:
    """One row of a decision's table.

    Attributes
    ----------
    compared
        The champion's scores (first) and the challenger's (second).
    calibrated
        Whether the challenger's coverage is within `TOLERANCE`, or else no worse than the champion's; None where fewer
        than `CALIBRATED_FROM` galaxies cannot tell, and in the total, which decides by its gain alone.
    """

    compared: PairedGain
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
                "question": row.compared.question,
                "galaxies": row.compared.n,
                "NLL": _known(row.compared.second),
                "NLL champion": _known(row.compared.first),
                **_interval("gain", row.compared.gain),
                **_flat("agreement", row.compared.agreement),
                **_flat("mae", row.compared.mae),
                **_flat("coverage90", row.compared.coverage),
                "calibrated": _word(row),
            }
            for row in self.rows
        ]

    def readable(self) -> list[dict[str, str]]:
        """What decides, for people: rounded, intervals in one cell, a dash for what is not known; before: the champion.

        The other scores are in `changes`.
        """
        return [
            {
                "question": found.question,
                "n": f"{found.n:,}",
                "NLL": number(found.second),
                "NLL before": number(found.first),
                "gain (95 %)": f"{signed(found.gain.mean)} ({signed(found.gain.lower)}, {signed(found.gain.upper)})"
                if found.n
                else "–",
                "90 % holds": percent(found.coverage.second),
                "held before": percent(found.coverage.first),
                "calibrated": _word(row),
            }
            for row in self.rows
            for found in [row.compared]
        ]

    def changes(self) -> list[dict[str, str]]:
        """Agreement and errors of the vote fractions for people, and what they and coverage changed by.

        What coverage is now stands in `readable`.
        """
        rows = change_rows([row.compared for row in self.rows])
        return [{name: text for name, text in row.items() if name != "90 % holds"} for row in rows]


def decide(
    challenger: GalaxyScores,
    champion: GalaxyScores,
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
    gains = paired_gains(champion, challenger, questions, resamples=resamples, seed=seed)
    enough = max(1, calibrated_from)
    verdicts = [_calibrated(gain.coverage, tolerance) if gain.n >= enough else None for gain in gains[1:]]
    rows = [QuestionVerdict(gain, verdict) for gain, verdict in zip(gains, [None, *verdicts], strict=True)]
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


def _calibrated(coverage: PairedChange, tolerance: float) -> bool:
    # 0.93 - 0.90 is a hair more than 0.03.
    return abs(coverage.second - LEVEL) <= max(tolerance, abs(coverage.first - LEVEL)) + 1e-9


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
        now, before = row.compared.coverage.second, row.compared.coverage.first
        if abs(now - LEVEL) > tolerance + 1e-9:
            comparison = "no worse than before" if row.calibrated else "worse than before"
            reasons.append(
                f"{row.compared.question}: its 90 % intervals hold {100 * now:.1f} % of the votes, the champion's"
                f" {100 * before:.1f} %: more than {100 * tolerance:g} points off and {comparison}"
                f" ({row.compared.n:,} galaxies)"
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


def _word(row: QuestionVerdict) -> str:
    if row.calibrated is None:
        return "" if row.compared.question == TOTAL else "too few"
    return "yes" if row.calibrated else "no"


def _flat(name: str, found: PairedChange) -> dict[str, float | None]:
    return {name: _known(found.second), f"{name} champion": _known(found.first)} | _interval(
        f"{name} change", found.change
    )


def _interval(name: str, found: Interval) -> dict[str, float | None]:
    return {name: _known(found.mean), f"{name} lower": _known(found.lower), f"{name} upper": _known(found.upper)}


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
