"""Votes from a catalog's counts, fractions or cumulative probabilities, checked against what must add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gzflow.catalog.agreement import Agreement, QuestionAgreement
from gzflow.catalog.columns import as_numbers
from gzflow.surveys.survey import Survey

# Published fractions carry three decimals or more: a sum over seven answers errs by 0.4 % at most.
_FRACTION_SLACK = 0.02
_MOST_TICKED = "the box that was ticked most often has"
_MOST_VOTES = float(np.iinfo(np.int32).max)


@dataclass(frozen=True)
class VoteTable:
    """Votes of a catalog's rows, or of a part of them.

    Attributes
    ----------
    counts
        (n_rows, n_answers) int32; rows named in `problems` are 0.
    problems
        (row, reason, detail) with the reason ``bad-votes`` or ``votes-disagree``; at most one a row.
    residual
        Largest distance, in votes, between what was published (fraction x total, or a weighted count) and the whole
        number that was kept.
    agreement
        In how many rows which question's answers do not add up; those of several parts can be added and judged.
    """

    counts: NDArray[np.int32]
    problems: tuple[tuple[int, str, str], ...]
    residual: float
    agreement: Agreement = field(default_factory=Agreement)

    @property
    def notes(self) -> tuple[str, ...]:
        """Which questions lost the votes of how many galaxies (``off_total = "drop"``)."""
        return self.agreement.notes


def whole_votes(survey: Survey, frame: pl.DataFrame, *, where: str) -> VoteTable:
    """Votes of a whole table: as `part_votes`, and judged.

    Raises
    ------
    VotesDisagree
        In most rows, or in most rows of one question, the answers do not add up to their total: the columns are
        probably not what the survey says.
    """
    table = part_votes(survey, frame)
    table.agreement.judge(where)
    return table


def part_votes(survey: Survey, frame: pl.DataFrame, *, first_row: int = 0) -> VoteTable:
    """Whole votes of each row: counts, fraction x total, or conditional fraction x volunteers who came that far.

    All are rounded half to even. Nobody was asked a question whose answers are all empty and whose total is 0 or
    unknown: 0 votes. Any other gap, a negative number or a fraction above 1 is a problem of that row, and so are
    answers that do not add up to their total (counts: exactly; fractions: to one vote or 2 %), unless the question
    says ``off_total = "drop"``: then this galaxy has no votes for it.

    Parameters
    ----------
    survey
        Says which columns hold what; without ``[catalog.votes]`` every row has 0 votes.
    frame
        The columns of ``survey.vote_columns()``.
    first_row
        Where these rows begin in the table, for messages.

    Check boxes (``multiple_choice``) need not add up to anything, but none is ticked by more volunteers than saw it.
    Those are the total, or else the volunteers who gave the answers that lead there; of each box it is counted how many
    ticked it and how many did not.

    Notes
    -----
    Cumulative probabilities are those of the whole way to an answer, as in the Galaxy Challenge: for question q with
    values p_a, the fraction within the question is p_a / sum(p). The sum must be that of the answers that lead to q, or
    1 where q is asked of everybody or says ``rescaled`` (to 2 %). Of N volunteers, N x `DecisionTree.proportion_asked`
    were asked q, so votes = round(N x asked x p_a / sum(p)).
    """
    section = survey.catalog.votes
    if section is None:
        return VoteTable(np.zeros((len(frame), len(survey.tree.answers)), np.int32), (), 0.0)
    questions = [_read_question(survey, frame, q) for q in range(len(survey.question))]
    problems: dict[int, tuple[str, str]] = {}
    for question in questions:
        for row in np.flatnonzero(question.wrong).tolist():
            shown = ", ".join(f"{name} = {frame[name][row]}" for name in question.columns)
            problems.setdefault(row, ("bad-votes", f"{question.name}: {shown}"))
    sums = _sums(survey, questions)
    strict = [total for total in sums if not total.drops]
    for total in strict:
        for row in np.flatnonzero(total.off).tolist():
            problems.setdefault(row, ("votes-disagree", total.sentence(row)))
    for total in sums:
        if total.drops:
            questions[total.question] = questions[total.question].without(total.off)
    votes = np.concatenate([question.votes for question in questions], axis=1)
    if section.cumulative is not None:
        assert section.volunteers is not None
        votes = _walked(survey, votes, section.volunteers)
    votes[list(problems)] = 0.0
    counts = np.rint(votes)
    off = np.logical_or.reduce([total.off for total in strict]) if strict else np.zeros(len(frame), bool)
    agreement = Agreement(len(frame), int(off.sum()), tuple(total.agreement(first_row) for total in sums))
    by_box = _by_box(survey, counts, questions)
    by_box[list(problems)] = 0.0
    return VoteTable(
        by_box.astype(np.int32),
        tuple((row, *problems[row]) for row in sorted(problems)),
        float(np.abs(votes - counts).max(initial=0.0)),
        agreement,
    )


@dataclass(frozen=True)
class _Answers:
    """One question's columns: votes (n, answers) before rounding, and rows that cannot be read."""

    name: str
    columns: tuple[str, ...]
    votes: NDArray[np.float64]
    total: NDArray[np.float64]
    wrong: NDArray[np.bool_]

    def without(self, rows: NDArray[np.bool_]) -> _Answers:
        return replace(self, votes=np.where(rows[:, None], 0.0, self.votes), total=np.where(rows, 0.0, self.total))


@dataclass(frozen=True)
class _Sum:
    """What was found and what should be, for one question or for all together; `off` where they differ."""

    question: int
    off_total: str
    name: str
    unit: str
    claim: str
    found: NDArray[np.float64]
    total: NDArray[np.float64]
    off: NDArray[np.bool_]
    what: str = "the answers add up to"

    @property
    def drops(self) -> bool:
        return self.off_total == "drop"

    def sentence(self, row: int) -> str:
        found, total = float(self.found[row]), float(self.total[row])
        return f"{self.name}: {self.what} {found:g}{self.unit}, {self.claim} {total:g}"

    def agreement(self, first_row: int) -> QuestionAgreement:
        rows = np.flatnonzero(self.off)
        example = ""
        if len(rows):
            row = int(rows[0])
            example = self.sentence(row) if self.drops else f"row {first_row + row + 1}: {self.sentence(row)}"
        with np.errstate(invalid="ignore"):
            asked = int(((self.found > 0) | (self.total > 0)).sum())
        return QuestionAgreement(self.name, self.drops, asked, len(rows), example)


def _read_question(survey: Survey, frame: pl.DataFrame, q: int) -> _Answers:
    section, part = survey.catalog.votes, survey.described.slices[q]
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
    question = survey.described.questions[q]
    untold = section.fraction or (question.multiple_choice and not question.asked_after)
    gap = np.isnan(given).any(axis=1) | (np.isnan(expected) if untold else False)
    wrong = unreadable | bad_total | outside | (gap & ~nobody)
    votes = given * expected[:, None] if section.fraction else given
    votes = np.where((nobody | wrong)[:, None], 0.0, votes)
    columns = (*own, *([total_column] if total_column else []))
    return _Answers(question.name, columns, votes, expected, wrong)


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
    assert section is not None
    readable = ~np.logical_or.reduce([question.wrong for question in questions])
    boxes = [q for q, question in enumerate(survey.described.questions) if question.multiple_choice]
    if section.cumulative is not None:
        sums = _cumulative_sums(survey, questions)
    elif section.total is None:
        sums = [_box_sum(survey, questions, q) for q in boxes]
    elif _is_overall(survey):
        found = np.sum([question.votes.sum(axis=1) for question in questions], axis=0)
        total = questions[0].total
        off = _differ(found, total, 0.5)
        claim = f"{section.total} says"
        sums = [_Sum(0, "fail", "all questions together", " votes", claim, found, total, off)]
        sums += [_box_sum(survey, questions, q) for q in boxes]
    else:
        sums = []
        for q, (question, entry) in enumerate(zip(questions, survey.question, strict=True)):
            if q in boxes:
                sums.append(_box_sum(survey, questions, q))
                continue
            found, total = question.votes.sum(axis=1), question.total
            slack = 0.5 if section.count else np.maximum(1.0, _FRACTION_SLACK * np.nan_to_num(total))
            off = _differ(found, total, slack)
            claim = f"{question.columns[-1]} says"
            sums.append(_Sum(q, entry.off_total, question.name, " votes", claim, found, total, off))
    return [replace(entry, off=entry.off & readable) for entry in sums]


def _box_sum(survey: Survey, questions: Sequence[_Answers], q: int) -> _Sum:
    found, shown = questions[q].votes.max(axis=1), _shown(survey, questions, q)
    off = found > shown + 0.5
    claim = "those who saw it are"
    return _Sum(q, survey.question[q].off_total, questions[q].name, " votes", claim, found, shown, off, _MOST_TICKED)


def _shown(survey: Survey, questions: Sequence[_Answers], q: int) -> NDArray[np.float64]:
    """(n,) how many volunteers saw the check boxes: their own total, or those who gave an answer that leads there."""
    own = np.full(len(questions[q].total), np.nan) if _is_overall(survey) else questions[q].total
    tree = survey.described
    came = np.zeros(len(own))
    for parent, column in tree.parents[q]:
        came += questions[parent].votes[:, column - tree.slices[parent].start]
    return np.where(np.isnan(own), came, own)


def _by_box(survey: Survey, counts: NDArray[np.float64], questions: Sequence[_Answers]) -> NDArray[np.float64]:
    """Counts of the answers that the TOML names, as those of ``survey.tree``: each box ticked, and not ticked."""
    tree = survey.described
    parts = []
    for q, (question, part) in enumerate(zip(tree.questions, tree.slices, strict=True)):
        given = counts[:, part]
        if question.multiple_choice:
            shown = np.rint(_shown(survey, questions, q))
            # Where the votes that lead there were dropped, nobody is known to have seen the boxes.
            shown = np.where(given.max(axis=1) > shown, 0.0, shown)[:, None]
            ticked = np.minimum(given, shown)
            given = np.stack([ticked, shown - ticked], axis=2).reshape(len(given), -1)
        parts.append(given)
    return np.concatenate(parts, axis=1)


def _cumulative_sums(survey: Survey, questions: Sequence[_Answers]) -> list[_Sum]:
    given = np.concatenate([question.votes for question in questions], axis=1)
    sums = []
    for q, (question, entry) in enumerate(zip(questions, survey.question, strict=True)):
        leads = [column for _, column in survey.tree.parents[q]]
        everybody = entry.rescaled or not leads
        found = question.votes.sum(axis=1)
        total = np.ones(len(found)) if everybody else given[:, leads].sum(axis=1)
        claim = "everybody's must be" if everybody else "those that lead there to"
        off = _differ(found, total, _FRACTION_SLACK)
        sums.append(_Sum(q, entry.off_total, question.name, "", claim, found, total, off))
    return sums


def _walked(survey: Survey, cumulative: NDArray[np.float64], volunteers: int) -> NDArray[np.float64]:
    """Votes (n, answers) that `volunteers` a galaxy would have cast, from probabilities of the whole way."""
    fractions = np.zeros_like(cumulative)
    for part in survey.tree.slices:
        total = cumulative[:, part].sum(axis=1, keepdims=True)
        np.divide(cumulative[:, part], total, out=fractions[:, part], where=total > 0)
    asked = survey.tree.proportion_asked(fractions)
    return volunteers * asked[:, survey.tree.question_of_answer] * fractions


def _differ(
    found: NDArray[np.float64], total: NDArray[np.float64], slack: float | NDArray[np.float64]
) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.abs(found - total) > slack  # False where the total is unknown
