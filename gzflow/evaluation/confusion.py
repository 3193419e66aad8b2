"""Confusion matrices whose axes have names: rows are the volunteers' answers, columns the model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gzflow.evaluation.bootstrap import Interval
from gzflow.evaluation.selection import Selection, floor_of, selected
from gzflow.tree import DecisionTree

ROWS = "volunteers' answer"
COLUMNS = "model's answer"


@dataclass(frozen=True)
class Agreement:
    """Scores of a confusion matrix with their bootstrap intervals; `lead` is accuracy above the majority answer's."""

    accuracy: Interval
    lead: Interval
    macro_f1: Interval
    weighted_f1: Interval


@dataclass(frozen=True)
class ConfusionMatrix:
    """Galaxies by the answer that most volunteers gave and the answer that the model puts first.

    Attributes
    ----------
    counts
        (n_answers, n_answers): rows are the volunteers' answers, columns the model's.
    selection, floor
        Which galaxies were counted, and the fewest votes for the question.
    """

    question: str
    answers: tuple[str, ...]
    counts: NDArray[np.int64]
    selection: Selection
    floor: int

    @property
    def n(self) -> int:
        """Number of galaxies counted."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of galaxies where both agree; NaN without galaxies."""
        return float(np.trace(self.counts)) / self.n if self.n else float("nan")

    @property
    def majority_answer(self) -> str | None:
        """The volunteers' commonest answer among these galaxies."""
        return self.answers[int(self.counts.sum(axis=1).argmax())] if self.n else None

    @property
    def majority_accuracy(self) -> float:
        """What always giving the commonest answer would score on these very galaxies: no constant does better."""
        return float(self.counts.sum(axis=1).max()) / self.n if self.n else float("nan")

    @property
    def recall(self) -> NDArray[np.float64]:
        """(n_answers,) share of each row on the diagonal; NaN for an empty row."""
        rows = self.counts.sum(axis=1).astype(np.float64)
        return np.divide(np.diag(self.counts), rows, out=np.full(len(rows), np.nan), where=rows > 0)

    @property
    def macro_f1(self) -> float:
        """Unweighted mean of F1 over the answers that volunteers or model gave; NaN without galaxies."""
        return float(_f1(self.counts)[0])

    @property
    def weighted_f1(self) -> float:
        """Mean of F1 weighted by the volunteers' answers; NaN without galaxies."""
        return float(_f1(self.counts)[1])

    def agreement(self, *, resamples: int = 2000, seed: int = 42, level: float = 0.95) -> Agreement:
        """Bootstrap over galaxies: drawing them with replacement draws the matrix's cells from a multinomial."""
        if not self.n:
            nothing = Interval(float("nan"), float("nan"), float("nan"), level)
            return Agreement(nothing, nothing, nothing, nothing)
        size = len(self.answers)
        shares = (self.counts / self.n).ravel()
        drawn = np.random.default_rng(seed).multinomial(self.n, shares, resamples).reshape(-1, size, size)
        accuracy = np.trace(drawn, axis1=1, axis2=2) / self.n
        # The answer that is commonest here stays the rival: a constant does not know what was drawn.
        rival = drawn.sum(axis=2)[:, int(self.counts.sum(axis=1).argmax())] / self.n
        macro, weighted = _f1(drawn)

        def interval(whole: float, values: NDArray[np.float64]) -> Interval:
            lower, upper = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
            return Interval(whole, float(lower), float(upper), level)

        return Agreement(
            interval(self.accuracy, accuracy),
            interval(self.accuracy - self.majority_accuracy, accuracy - rival),
            interval(self.macro_f1, macro),
            interval(self.weighted_f1, weighted),
        )


def _f1(counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Macro and weighted F1 of (..., n_answers, n_answers) counts; NaN where there are none."""
    rows, columns = counts.sum(axis=-1), counts.sum(axis=-2)
    given = rows + columns > 0
    each = 2 * np.diagonal(counts, axis1=-2, axis2=-1) / np.maximum(rows + columns, 1)
    with np.errstate(invalid="ignore"):
        return each.sum(axis=-1) / given.sum(axis=-1), (each * rows).sum(axis=-1) / rows.sum(axis=-1)


def confusion_matrices(
    fractions: NDArray[Any],
    votes: NDArray[Any],
    tree: DecisionTree,
    *,
    selection: Selection = "half-asked",
    floor: int = 10,
) -> tuple[ConfusionMatrix, ...]:
    """One matrix a question, in the tree's order.

    Parameters
    ----------
    fractions
        (n, n_answers) predicted vote fractions.
    votes
        (n, n_answers) counts. Of answers with equal votes the first in the survey's order counts as the volunteers'.
    """
    chosen = selected(votes, tree, selection, floor)
    matrices = []
    for q, (question, part) in enumerate(zip(tree.questions, tree.slices, strict=True)):
        rows = chosen[:, q]
        size = len(question.answers)
        pairs = votes[rows, part].argmax(axis=1) * size + fractions[rows, part].argmax(axis=1)
        counts = np.bincount(pairs, minlength=size * size).reshape(size, size)
        matrices.append(ConfusionMatrix(question.name, question.answers, counts, selection, floor_of(selection, floor)))
    return tuple(matrices)
