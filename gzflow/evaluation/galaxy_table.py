"""What a model says of one galaxy, question by question."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gzflow.evaluation.ranking import RELEVANT
from gzflow.tree import DecisionTree

SURE = 0.8
"""Fractions from here on are shown bold."""


@dataclass(frozen=True)
class AnswerCell:
    """One answer: predicted fraction, its interval unless it is withheld, and the volunteers' fraction if asked."""

    answer: str
    fraction: float
    lower: float | None
    upper: float | None
    volunteers: float | None

    @property
    def sure(self) -> bool:
        """Whether the answer is shown bold."""
        return self.fraction >= SURE


@dataclass(frozen=True)
class QuestionRow:
    """One question: its answers by descending fraction.

    Attributes
    ----------
    proportion_asked
        Expected share of volunteers who are asked the question.
    votes
        Votes the volunteers cast for it; None where no votes are known.
    """

    question: str
    proportion_asked: float
    votes: int | None
    answers: tuple[AnswerCell, ...]

    @property
    def relevant(self) -> bool:
        """False where the row is greyed: too few volunteers would be asked."""
        return self.proportion_asked >= RELEVANT


@dataclass(frozen=True)
class GalaxyTable:
    """Rows in the order in which volunteers meet the questions."""

    id_str: str
    rows: tuple[QuestionRow, ...]
    level: float

    @property
    def withheld(self) -> bool:
        """Whether a question stands without intervals."""
        return any(cell.lower is None for row in self.rows for cell in row.answers)

    @property
    def has_votes(self) -> bool:
        """Whether the volunteers' fractions stand beside the model's."""
        return any(row.votes is not None for row in self.rows)


def galaxy_table(
    id_str: str,
    fractions: NDArray[Any],
    lower: NDArray[Any],
    upper: NDArray[Any],
    tree: DecisionTree,
    *,
    votes: NDArray[Any] | None = None,
    withheld: Collection[str] = (),
    level: float = 0.9,
) -> GalaxyTable:
    """The table of one galaxy.

    Parameters
    ----------
    fractions, lower, upper
        (n_answers,) predicted vote fractions and the ends of their intervals.
    votes
        (n_answers,) the volunteers' counts, if there are any.
    withheld
        Questions whose intervals are not shown: their votes could not tell how wide they are.
    level
        Of the intervals.
    """
    asked = tree.proportion_asked(np.asarray(fractions)[None])[0]
    rows = []
    for q in tree.topological:
        question, part = tree.questions[q], tree.slices[q]
        total = None if votes is None else int(votes[part].sum())
        cells = [
            AnswerCell(
                answer=answer,
                fraction=float(fractions[column]),
                lower=None if question.name in withheld else float(lower[column]),
                upper=None if question.name in withheld else float(upper[column]),
                volunteers=float(votes[column]) / total if votes is not None and total else None,
            )
            for answer, column in zip(question.answers, range(part.start, part.stop), strict=True)
        ]
        cells.sort(key=lambda cell: -cell.fraction)
        rows.append(QuestionRow(question.name, float(asked[q]), total, tuple(cells)))
    return GalaxyTable(id_str, tuple(rows), level)
