"""Whether published votes and published totals agree, counted so that parts of a table can be judged together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Self

from gzflow.errors import VotesDisagree

# A question asked of fewer galaxies than this says little about whether its columns are the right ones.
_ENOUGH = 20


@dataclass(frozen=True)
class QuestionAgreement:
    """One question, or all together where the catalog has one total.

    Attributes
    ----------
    name
        Of the question.
    drops
        Whether galaxies that are off lose this question's votes instead of failing.
    asked, off
        Galaxies with votes or a total, and those among them whose answers do not add up.
    example
        The first of these, in words; empty without one.
    """

    name: str
    drops: bool
    asked: int
    off: int
    example: str

    def __add__(self, other: QuestionAgreement) -> QuestionAgreement:
        return QuestionAgreement(
            self.name, self.drops, self.asked + other.asked, self.off + other.off, self.example or other.example
        )


@dataclass(frozen=True)
class Agreement:
    """Rows, those that are off in a question that does not drop them, and each question's share; parts add up."""

    rows: int = 0
    off: int = 0
    questions: tuple[QuestionAgreement, ...] = ()

    def __add__(self, other: Agreement) -> Agreement:
        if not (self.questions and other.questions):
            longer = self.questions or other.questions
        else:
            longer = tuple(mine + theirs for mine, theirs in zip(self.questions, other.questions, strict=True))
        return Agreement(self.rows + other.rows, self.off + other.off, longer)

    @classmethod
    def of(cls, parts: Sequence[Self]) -> Agreement:
        """All parts of one table together."""
        return reduce(lambda one, other: one + other, parts, Agreement())

    @property
    def notes(self) -> tuple[str, ...]:
        """Which questions lost the votes of how many galaxies (``off_total = "drop"``)."""
        return tuple(
            f"{question.off:,} of {self.rows:,} galaxies lose their votes of one question ({question.example})"
            for question in self.questions
            if question.drops and question.off
        )

    def judge(self, where: str) -> None:
        """Refuse a table whose columns are probably not what the survey says.

        Raises
        ------
        VotesDisagree
            In most rows, or in most rows of one question, the answers do not add up to their total.
        """
        most_rows = 2 * self.off > self.rows
        suspects = [
            f"{question.off:,} of {question.asked:,} galaxies with votes; {question.example}"
            for question in self.questions
            if not question.drops
            and ((most_rows and question.off) or (question.asked >= _ENOUGH and 2 * question.off > question.asked))
        ]
        if suspects:
            raise VotesDisagree(
                f"the answers do not add up to the published totals in {self.off:,} of {self.rows:,} rows",
                where=where,
                problems=suspects,
                expected="counts that add up to the total, or fractions that add up to 1",
                fix="compare [catalog.votes] and each question's task and columns with the table; where some volunteers"
                ' saw other answers, give that question off_total = "drop"',
            )
