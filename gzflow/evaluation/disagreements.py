"""Galaxies on which model and volunteers disagree most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from gzflow.evaluation.likelihood import mixture_nll
from gzflow.evaluation.selection import selected, vote_fractions
from gzflow.posterior import fractions
from gzflow.tree import DecisionTree


@dataclass(frozen=True)
class Disagreement:
    """One galaxy and question.

    Attributes
    ----------
    row
        Of the galaxy.
    answer
        The volunteers' commonest.
    observed, predicted
        Its fraction, by the volunteers and by the model.
    votes
        For the question.
    surprise
        Nats by which the votes are less probable under the prediction than under their own fractions.
    """

    row: int
    question: str
    answer: str
    observed: float
    predicted: float
    votes: int
    surprise: float


def worst_disagreements(
    concentrations: NDArray[Any], votes: NDArray[Any], tree: DecisionTree, *, floor: int = 20, count: int = 6
) -> tuple[tuple[Disagreement, ...], ...]:
    """For each question, in the tree's order, the `count` galaxies with the greatest surprise, worst first.

    Surprise takes the number of votes and the model's own doubt into account: 3 of 4 votes are no scandal, and a model
    that is unsure is wrong without one.

    Parameters
    ----------
    concentrations, votes
        (n, n_samples, n_answers) and (n, n_answers).
    floor
        The fewest votes for the question.
    """
    chosen = selected(votes, tree, "asked", floor)
    predicted = fractions(concentrations, tree)
    observed = np.nan_to_num(vote_fractions(votes, tree))
    nll = mixture_nll(votes, concentrations, tree)
    result = []
    for q, (question, part) in enumerate(zip(tree.questions, tree.slices, strict=True)):
        rows = np.flatnonzero(chosen[:, q])
        surprise = nll[rows, q] + _best(votes[rows, part], observed[rows, part])
        order = np.argsort(-surprise, kind="stable")[:count]
        worst = []
        for row, value in zip(rows[order], surprise[order], strict=True):
            first = int(votes[row, part].argmax())
            worst.append(
                Disagreement(
                    row=int(row),
                    question=question.name,
                    answer=question.answers[first],
                    observed=float(observed[row, part][first]),
                    predicted=float(predicted[row, part][first]),
                    votes=int(votes[row, part].sum()),
                    surprise=float(value),
                )
            )
        result.append(tuple(worst))
    return tuple(result)


def _best(votes: NDArray[Any], observed: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) log-probability of the votes under a multinomial of their own fractions: no prediction does better."""
    counts = votes.astype(np.float64)
    coefficient = gammaln(counts.sum(axis=1) + 1) - gammaln(counts + 1).sum(axis=1)
    return np.asarray(coefficient + xlogy(counts, observed).sum(axis=1), np.float64)
