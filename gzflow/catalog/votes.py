"""Votes from a catalog's counts or fractions, checked against the totals that it publishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gzflow.catalog.columns import as_numbers
from gzflow.errors import VotesDisagree
from gzflow.surveys.survey import Survey

# Published fractions carry three decimals or more: a sum over seven answers errs by 0.4 % at most.
_FRACTION_SLACK = 0.02
_MOST_VOTES = float(np.iinfo(np.int32).max)
# A question asked of fewer galaxies than this says little about whether its columns are the right ones.
_ENOUGH = 20


@dataclass(frozen=True)
class VoteTable:
    """Votes of a catalog's rows.

    Attributes
    ----------
    counts
        (n_rows, n_answers) int32; rows named in `problems` are 0.
    problems
        (row, reason, detail) with the reason ``bad-votes`` or ``votes-disagree``; at most one a row.
    residual
        Largest distance, in votes, between what was published (fraction x total, or a weighted count) and the whole
        number that was kept.
    notes
        Which questions lost the votes of how many galaxies (``off_total = "drop"``).
    """

    counts: NDArray[np.int32]
    problems: tuple[tuple[int, str, str], ...]
    residual: float
    notes: tuple[str, ...] = ()


def whole_votes(survey: Survey, frame: pl.DataFrame, *, where: str) -> VoteTable:
    """Whole votes of each row: counts, or fraction x total, rounded half to even.

    Nobody was asked a question whose answers are all empty and whose total is 0 or unknown: 0 votes. Any other gap, a
    negative number or a fraction above 1 is a problem of that row, and so are answers that do not add up to their
    total (counts: exactly; fractions: to one vote or 2 %), unless the question says ``off_total = "drop"``: then this
    galaxy has no votes for it.

    Parameters
    ----------
    survey
        Says which columns hold what; without ``[catalog.votes]`` every row has 0 votes.
    frame
        The columns of ``survey.vote_columns()``.
    where
        The file, for messages.

    Raises
    ------
    VotesDisagree
        In most rows, or in most rows of one question, the answers do not add up to their total: the columns are
        probably not what the survey says.
    """
    if survey.catalog.votes is None:
        return VoteTable(np.zeros((len(frame), len(survey.tree.answers)), np.int32), (), 0.0)
    questions = [_read_question(survey, frame, q) for q in range(len(survey.tree.questions))]
    problems: dict[int, tuple[str, str]] = {}
    for question in questions:
        for row in np.flatnonzero(question.wrong).tolist():
            shown = ", ".join(f"{name} = {frame[name][row]}" for name in question.columns)
            problems.setdefault(row, ("bad-votes", f"{question.name}: {shown}"))
    sums = _sums(survey, questions)
    strict = [total for total in sums if total.off_total == "fail"]
    _refuse_wrong_columns(strict, len(frame), where)
    for total in strict:
        for row in np.flatnonzero(total.off).tolist():
            problems.setdefault(row, ("votes-disagree", total.sentence(row)))
    notes = []
    for total in sums:
        if total.off_total == "drop" and total.off.any():
            questions[total.question].votes[total.off] = 0.0
            first = total.sentence(int(np.flatnonzero(total.off)[0]))
            notes.append(f"{total.off.sum():,} of {len(frame):,} galaxies lose their votes of one question ({first})")
    votes = np.concatenate([question.votes for question in questions], axis=1)
    votes[list(problems)] = 0.0
    counts = np.rint(votes)
    residual = float(np.abs(votes - counts).max(initial=0.0))
    return VoteTable(
        counts.astype(np.int32), tuple((row, *problems[row]) for row in sorted(problems)), residual, tuple(notes)
    )


@dataclass(frozen=True)
class _Answers:
    """One question's columns: votes (n, answers) before rounding, and rows that cannot be read."""

    name: str
    columns: tuple[str, ...]
    votes: NDArray[np.float64]
    total: NDArray[np.float64]
    wrong: NDArray[np.bool_]


@dataclass(frozen=True)
class _Sum:
    """Votes found and published, for one question or for all together; `off` where they differ."""

    question: int
    off_total: str
    name: str
    column: str
    found: NDArray[np.float64]
    total: NDArray[np.float64]
    off: NDArray[np.bool_]

    def sentence(self, row: int) -> str:
        found, total = float(self.found[row]), float(self.total[row])
        return f"{self.name}: the answers add up to {found:g} votes, {self.column} says {total:g}"


def _read_question(survey: Survey, frame: pl.DataFrame, q: int) -> _Answers:
    section, part = survey.catalog.votes, survey.tree.slices[q]
    assert section is not None
    named = survey.vote_columns()[part]
    own, total_column = [column for column, _ in named], named[0][1]
    given, unreadable = _numbers(frame, own)
    total, bad_total = _numbers(frame, [total_column] if total_column else [])
    expected = total[:, 0] if total_column else np.full(len(frame), np.nan)
    # A total over all questions does not say whether this one was asked.
    zero = (expected == 0) | np.isnan(expected) | _is_overall(survey)
    nobody = np.isnan(given).all(axis=1) & ~unreadable & zero
    most = _MOST_VOTES if section.count else 1 + 1e-6
    with np.errstate(invalid="ignore"):
        outside = ((given < 0) | (given > most)).any(axis=1) | (expected < 0) | (expected > _MOST_VOTES)
    gap = np.isnan(given).any(axis=1) | (np.isnan(expected) if section.fraction else False)
    wrong = unreadable | bad_total | outside | (gap & ~nobody)
    votes = given if section.count else given * expected[:, None]
    votes = np.where((nobody | wrong)[:, None], 0.0, votes)
    columns = (*own, *([total_column] if total_column else []))
    return _Answers(survey.tree.questions[q].name, columns, votes, expected, wrong)


def _numbers(frame: pl.DataFrame, columns: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values (n, columns) and the rows in which one of them is no number."""
    values = np.full((len(frame), len(columns)), np.nan)
    unreadable = np.zeros(len(frame), bool)
    for i, name in enumerate(columns):
        column, bad = as_numbers(frame[name])
        values[:, i] = column.to_numpy()
        unreadable |= bad.to_numpy()
    return values, unreadable


def _is_overall(survey: Survey) -> bool:
    """Whether counts come with one total over all questions, as GZ2's total_votes."""
    section = survey.catalog.votes
    return section is not None and section.count is not None and section.total is not None and "{" not in section.total


def _sums(survey: Survey, questions: Sequence[_Answers]) -> list[_Sum]:
    section = survey.catalog.votes
    if section is None or section.total is None:
        return []
    readable = ~np.logical_or.reduce([question.wrong for question in questions])
    if _is_overall(survey):
        found = np.sum([question.votes.sum(axis=1) for question in questions], axis=0)
        total = questions[0].total
        off = _differ(found, total, 0.5) & readable
        return [_Sum(0, "fail", "all questions together", section.total, found, total, off)]
    sums = []
    for q, (question, entry) in enumerate(zip(questions, survey.question, strict=True)):
        found = question.votes.sum(axis=1)
        slack = 0.5 if section.count else np.maximum(1.0, _FRACTION_SLACK * np.nan_to_num(question.total))
        off = _differ(found, question.total, slack) & readable
        sums.append(_Sum(q, entry.off_total, question.name, question.columns[-1], found, question.total, off))
    return sums


def _differ(
    found: NDArray[np.float64], total: NDArray[np.float64], slack: float | NDArray[np.float64]
) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.abs(found - total) > slack  # False where the total is unknown


def _refuse_wrong_columns(sums: Sequence[_Sum], n: int, where: str) -> None:
    rows = np.logical_or.reduce([total.off for total in sums]) if sums else np.zeros(n, bool)
    most_rows = 2 * int(rows.sum()) > n
    suspects = []
    for total in sums:
        asked, off = int(((total.found > 0) | (total.total > 0)).sum()), int(total.off.sum())
        if (most_rows and off) or (asked >= _ENOUGH and 2 * off > asked):
            first = int(np.flatnonzero(total.off)[0])
            suspects.append(f"{off:,} of {asked:,} galaxies with votes; row {first + 1}: {total.sentence(first)}")
    if suspects:
        raise VotesDisagree(
            f"the answers do not add up to the published totals in {int(rows.sum()):,} of {n:,} rows",
            where=where,
            problems=suspects,
            expected="counts that add up to the total, or fractions that add up to 1",
            fix="compare [catalog.votes] and each question's task and columns with the table; where some volunteers saw"
            ' other answers, give that question off_total = "drop"',
        )
