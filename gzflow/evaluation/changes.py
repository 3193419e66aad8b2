"""What two catalogues say differently of the same galaxies: answers that moved beyond their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gzflow.evaluation.numbers import mean
from gzflow.evaluation.slices import FEWEST, Slice

EVERYTHING = "any question"
"""Stands for the question where all of a galaxy's questions count together."""


@dataclass(frozen=True)
class Estimates:
    """What one catalogue says of n galaxies about one question with k answers.

    Attributes
    ----------
    fraction, lower, upper
        (n, k): the expected fraction and its interval; NaN where the catalogue withholds it.
    asked
        (n,) share of volunteers who would be asked.
    """

    fraction: NDArray[Any]
    lower: NDArray[Any]
    upper: NDArray[Any]
    asked: NDArray[Any]


@dataclass(frozen=True)
class QuestionChange:
    """One question in two catalogues.

    Attributes
    ----------
    n
        Galaxies compared: enough volunteers would be asked in one catalogue or the other, and both give intervals.
    n_changed
        Of these, galaxies with an answer that moved.
    withheld
        Galaxies that would be compared but for an interval that one of the catalogues does not give.
    other_first
        Share of the galaxies compared whose likeliest answer is another one; NaN of none.
    distance
        Their mean absolute change of the fractions; NaN of none.
    commonest
        The answer that moved in the most galaxies; None where none did.
    """

    question: str
    n: int
    n_changed: int
    withheld: int
    other_first: float
    distance: float
    commonest: str | None


@dataclass(frozen=True)
class Moves:
    """One question in two catalogues, galaxy by galaxy.

    Attributes
    ----------
    compared, withheld
        (n,) galaxies as `QuestionChange` counts them.
    moved
        (n, k) answers whose two intervals have no value in common, of the galaxies compared.
    other_first
        (n,) whether the likeliest answer is another one.
    distance
        (n,) absolute change of the fractions, mean over answers.
    """

    compared: NDArray[np.bool_]
    withheld: NDArray[np.bool_]
    moved: NDArray[np.bool_]
    other_first: NDArray[np.bool_]
    distance: NDArray[np.float64]

    @property
    def changed(self) -> NDArray[np.bool_]:
        """(n,) galaxies with an answer that moved."""
        return np.asarray(self.moved.any(axis=1))

    def counted(self, question: str, answers: Sequence[str]) -> QuestionChange:
        """The question in numbers."""
        times = self.moved.sum(axis=0)
        return QuestionChange(
            question=question,
            n=int(self.compared.sum()),
            n_changed=int(self.changed.sum()),
            withheld=int(self.withheld.sum()),
            other_first=mean(self.other_first[self.compared]),
            distance=mean(self.distance[self.compared]),
            commonest=answers[int(times.argmax())] if times.any() else None,
        )


@dataclass(frozen=True)
class SliceChange:
    """Galaxies compared and changed in one slice, for one question or `EVERYTHING`."""

    variable: str
    label: str
    question: str
    n: int
    n_changed: int

    @property
    def share(self) -> float:
        """Of the galaxies compared; NaN of none."""
        return self.n_changed / self.n if self.n else float("nan")


def moves(first: Estimates, second: Estimates, *, asked: float) -> Moves:
    """What moved in one question.

    Two intervals that have no value in common are a plain criterion that needs no model of how the catalogues' errors
    go together. It is a strict one: for two independent Gaussian estimates of equal width, 90 % intervals part at 3.29
    of one estimate's standard deviations, which chance alone does in 2 % of the cases.

    Parameters
    ----------
    asked
        The galaxy counts where one catalogue or the other says that at least this share would be asked.
    """
    relevant = (first.asked >= asked) | (second.asked >= asked)
    given = np.isfinite(np.hstack([first.lower, first.upper, second.lower, second.upper])).all(axis=1)
    compared = relevant & given
    apart = (first.upper < second.lower) | (second.upper < first.lower)
    return Moves(
        compared=compared,
        withheld=relevant & ~given,
        moved=apart & compared[:, None],
        other_first=first.fraction.argmax(axis=1) != second.fraction.argmax(axis=1),
        distance=np.abs(second.fraction - first.fraction).mean(axis=1, dtype=np.float64),
    )


def slice_changes(
    question: str, compared: NDArray[np.bool_], changed: NDArray[np.bool_], slices: Iterable[Slice]
) -> list[SliceChange]:
    """Counts in each slice where enough galaxies are compared."""
    counted = [
        SliceChange(
            part.variable, part.label, question, int((compared & part.rows).sum()), int((changed & part.rows).sum())
        )
        for part in slices
    ]
    return [entry for entry in counted if entry.n >= FEWEST]
