"""Confusion matrices whose axes have names: rows are the volunteers' answers, columns the model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gzflow.evaluation.selection import Selection, selected
from gzflow.tree import DecisionTree

ROWS = "volunteers' answer"
COLUMNS = "model's answer"


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
        both = self.counts.sum(axis=0) + self.counts.sum(axis=1)
        given = both > 0
        return float(np.mean(2 * np.diag(self.counts)[given] / both[given])) if given.any() else float("nan")


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
        matrices.append(ConfusionMatrix(question.name, question.answers, counts, selection, floor))
    return tuple(matrices)
