"""Tables of an evaluation: agreement, fractions, calibration, slices, weights; each says its sample."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from gzflow.evaluation.bootstrap import Interval
from gzflow.evaluation.calibration import LEVELS
from gzflow.evaluation.discrete_coverage import DEVIATION
from gzflow.evaluation.numbers import number, percent
from gzflow.evaluation.report import Cell, Table, Tone
from gzflow.evaluation.scores import Evaluation
from gzflow.evaluation.selection import CONFIDENT, MEANING, Selection, at_least, floor_of
from gzflow.evaluation.slices import SliceScore
from gzflow.evaluation.vote_noise import chance_of_exceeding
from gzflow.evaluation.weighting import WeightedScore

TRUSTED = 500
"""Galaxies from which a coverage that is off is marked: with fewer, chance alone moves it by more than a point."""
TOLERANCE = 0.03


def agreement_table(evaluation: Evaluation, selection: Selection, *, fold: bool = False) -> Table:
    """First answers of volunteers and model: accuracy above the majority answer's, and F1, with intervals."""
    rows: list[tuple[str | Cell, ...]] = []
    for score in evaluation.over(selection):
        found = score.agreement
        tone: Tone = "good" if found.lead.lower > 0 else "bad" if found.lead.upper < 0 else "plain"
        rows.append(
            (
                score.question,
                f"{score.n:,}",
                _share(found.accuracy),
                Cell(percent(score.majority_accuracy), title=f"always “{score.majority_answer}”"),
                Cell(_points(found.lead), tone),
                _number(found.macro_f1),
                _number(found.weighted_f1),
            )
        )
    floor = floor_of(selection, evaluation.floor)
    note = (
        f"{_sentence(MEANING[selection])}; {at_least(floor)}. Lead: accuracy less that of always giving the"
        " majority answer, in points. F1 macro: answers count alike; weighted: by the volunteers' answers."
        f" {_intervals(evaluation)}"
    )
    if selection == "confident":
        luck = chance_of_exceeding(CONFIDENT, floor, 0.7)
        note += (
            f" Where 70 % of all volunteers would agree, more than {CONFIDENT:.0%} of {floor} votes do by luck in"
            f" {luck:.0%} of the galaxies; of 5 votes in {chance_of_exceeding(CONFIDENT, 5, 0.7):.0%}."
        )
    columns = ("question", "n", "accuracy", "majority", "lead", "macro F1", "weighted F1")
    return _table(columns, rows, f"Agreement: {selection}", note, fold=fold)


def answer_table(evaluation: Evaluation, *, fold: bool = False) -> Table:
    """Errors of the vote fractions by answer, beside a constant and the volunteers' own noise."""
    rows: list[tuple[str | Cell, ...]] = [
        (
            f"{score.question}: {score.answer}",
            f"{score.n:,}",
            _number(score.mae),
            number(score.mae_constant),
            number(score.mae_noise),
            number(score.mae_corrected),
            _number(score.rmse),
            number(score.rmse_constant),
            number(score.rmse_corrected),
            _signed(score.bias),
        )
        for score in evaluation.answers
    ]
    total = evaluation.total
    rows.append(
        (
            "mean over answers",
            "",
            *map(number, (total.mae, total.mae_constant, total.mae_noise, total.mae_corrected)),
            *map(number, (total.rmse, total.rmse_constant, total.rmse_corrected)),
            "",
        )
    )
    note = (
        f"Galaxies with {at_least(evaluation.fraction_floor)} for the question. Noise: the MAE of perfect"
        " predictions, by the binomial noise of so many votes. Without noise: RMSE from the mean square error less the"
        " votes' variance; MAE from the root of MAE² − noise², which is exact for Gaussian errors only."
        f" {_intervals(evaluation)}"
    )
    columns = ("answer", "n", "MAE", "constant", "noise", "without noise", "RMSE", "constant", "without noise", "bias")
    return _table(columns, rows, "Errors of the vote fractions", note, fold=fold)


def calibration_table(evaluation: Evaluation) -> Table:
    """Coverage at every level, transforms, discrete coverage, reliability and sharpness by question."""
    rows: list[tuple[str | Cell, ...]] = []
    for entry in evaluation.calibrations:
        held = [_coverage(entry.coverage[level], level, entry.n) for level in LEVELS]
        discrete = entry.discrete
        rows.append(
            (
                entry.question,
                f"{entry.n:,}",
                *held,
                number(entry.pit_distance),
                f"{percent(discrete.observed_in_deviation)} ({percent(discrete.expected_in_deviation)})",
                number(entry.reliability_error),
                number(entry.sharpness),
                number(entry.sharpness_constant),
            )
        )
    note = (
        f"{_sentence(MEANING['asked'])}: {evaluation.floor} or more, all answers together. Coverage: share of the vote"
        " counts inside their predictive intervals, equal to the level when the model is right; coloured from"
        f" {TRUSTED} galaxies on, red where it is more than {100 * TOLERANCE:g} points off. PIT: largest distance of"
        f" the randomised transforms from uniform (seed {evaluation.seed}). Within ±{DEVIATION:g}: counts within"
        f" {DEVIATION:g} of the votes of the expected one, in brackets how many should be. Reliability: mean distance"
        " of predicted and observed fraction in ten bins. Sharpness: mean standard deviation of the predicted"
        " fractions, beside the constant Dirichlet's."
    )
    columns = (
        "question", "n", *(f"{level:.0%}" for level in LEVELS), "PIT", f"within ±{DEVIATION:g}", "reliability",
        "sharpness", "constant",
    )  # fmt: skip
    return _table(columns, rows, "Calibration", note)


def slice_table(scores: Sequence[SliceScore], variable: str, floor: int) -> Table:
    """Questions in the slices of one variable."""
    rows = [
        (
            score.label,
            score.question,
            f"{score.n:,}",
            Cell(_interval(score.gain, "{:+.3f}"), "good" if score.gain.lower > 0 else "plain"),
            percent(score.agreement),
            number(score.mae),
            _coverage(score.coverage.mean, 0.9, score.n),
            f"{percent(score.coverage.lower)} to {percent(score.coverage.upper)}",
        )
        for score in scores
        if score.variable == variable
    ]
    note = (
        f"Questions with {at_least(floor)}; 95 % bootstrap intervals over galaxies. Coverage is coloured from"
        f" {TRUSTED} galaxies on."
    )
    columns = ("slice", "question", "n", "gain (95 %)", "agree", "MAE", "90 % holds", "95 % interval")
    return _table(columns, rows, f"By {variable}", note, fold=True, text=2)


def weight_table(scores: Sequence[WeightedScore], variables: Sequence[str], floor: int) -> Table:
    """Unweighted and weighted scores side by side."""
    rows: list[tuple[str | Cell, ...]] = []
    for score in scores:
        pairs = (
            ("{:+.3f}", score.gain), ("{:.1%}", score.agreement), ("{:.3f}", score.mae), ("{:.1%}", score.coverage),
        )  # fmt: skip
        cells = [f"{form.format(plain)} → {form.format(weighted)}" for form, (plain, weighted) in pairs]
        rows.append((score.question, f"{score.n:,}", f"{score.effective:,.0f}", f"{score.uncovered:.1%}", *cells))
    note = (
        f"Galaxies with {at_least(floor)}, weighted so that {', '.join(variables)} are distributed as among all"
        " test galaxies that were asked the question at all: unweighted → weighted. Effective n: as many galaxies of"
        " equal weight tell as much. Not reached: share of those galaxies that no weight can speak for."
    )
    columns = ("question", "n", "effective n", "not reached", "gain", "agree", "MAE", "90 % holds")
    return _table(columns, rows, "Weighted to the whole sample", note)


def _table(
    columns: tuple[str, ...],
    rows: Sequence[tuple[str | Cell, ...]],
    caption: str,
    note: str,
    *,
    fold: bool = False,
    text: int = 1,
) -> Table:
    """A table whose first `text` columns are words."""
    return Table(columns, tuple(rows), caption, frozenset(range(text, len(columns))), note, fold)


def _coverage(share: float, level: float, n: int) -> Cell:
    off = abs(share - level) > TOLERANCE + 1e-9
    return Cell(percent(share), ("bad" if off else "good") if n >= TRUSTED and isfinite(share) else "plain")


def _intervals(evaluation: Evaluation) -> str:
    return f"Intervals: 95 %, bootstrap over galaxies, {evaluation.resamples:,} draws, seed {evaluation.seed}."


def _interval(found: Interval, form: str) -> str:
    if not isfinite(found.mean):
        return "–"
    return f"{form.format(found.mean)} ({form.format(found.lower)} to {form.format(found.upper)})".replace("-", "−")


def _share(found: Interval) -> str:
    return _interval(found, "{:.1%}")


def _points(found: Interval) -> str:
    return _interval(Interval(100 * found.mean, 100 * found.lower, 100 * found.upper), "{:+.1f}")


def _number(found: Interval) -> str:
    return _interval(found, "{:.3f}")


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−") if isfinite(value) else "–"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
