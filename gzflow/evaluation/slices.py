"""Scores of parts of a sample: by magnitude, size, redshift, number of votes, telescope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gzflow.evaluation.bootstrap import Interval, bootstrap_means
from gzflow.evaluation.calibration import predictive_steps
from gzflow.evaluation.likelihood import log_likelihood, mixture_nll
from gzflow.evaluation.selection import selected, vote_fractions
from gzflow.posterior import fractions
from gzflow.tree import DecisionTree

PARTS = 4
CATEGORIES = 8
FEWEST = 20
"""Galaxies that a slice needs for a question."""


@dataclass(frozen=True)
class GalaxyScores:
    """What a model scores galaxy by galaxy and question by question; all (n, n_questions).

    Attributes
    ----------
    counted
        Whether the galaxy counts for the question.
    nll, nll_constant
        In nats; 0 where nobody was asked.
    inside
        Share of the question's vote counts inside their 90 % predictive intervals.
    agrees
        1 where the model's first answer is the volunteers'.
    error
        Mean absolute error of the vote fractions, over the answers.
    """

    counted: NDArray[np.bool_]
    nll: NDArray[np.float64]
    nll_constant: NDArray[np.float64]
    inside: NDArray[np.float64]
    agrees: NDArray[np.float64]
    error: NDArray[np.float64]

    @classmethod
    def of(
        cls, concentrations: NDArray[Any], votes: NDArray[Any], tree: DecisionTree, baseline: NDArray[Any], floor: int
    ) -> Self:
        """Scores of (n, n_samples, n_answers) concentrations against (n, n_answers) votes.

        Parameters
        ----------
        baseline
            (n_answers,) concentrations of the constant Dirichlet.
        floor
            The fewest votes with which a galaxy counts for a question.
        """
        predicted = fractions(concentrations, tree)
        inside = predictive_steps(votes, concentrations, tree).inside()
        error = np.abs(predicted - vote_fractions(votes, tree))
        firsts = [votes[:, part].argmax(axis=1) == predicted[:, part].argmax(axis=1) for part in tree.slices]
        return cls(
            counted=selected(votes, tree, "asked", floor),
            nll=mixture_nll(votes, concentrations, tree),
            nll_constant=-log_likelihood(votes, baseline, tree),
            inside=_by_question(inside, tree),
            agrees=np.stack(firsts, axis=1).astype(np.float64),
            error=_by_question(error, tree),
        )


@dataclass(frozen=True)
class Slice:
    """Some galaxies that are alike in one thing.

    Attributes
    ----------
    rows
        (n,) which galaxies.
    """

    variable: str
    label: str
    rows: NDArray[np.bool_]


@dataclass(frozen=True)
class SliceScore:
    """One question in one slice: means over its galaxies, with 95 % bootstrap intervals.

    Attributes
    ----------
    gain
        NLL of the constant Dirichlet less the model's, in nats a galaxy.
    coverage
        Of the 90 % predictive intervals.
    agreement, mae
        Of the first answers, and of the vote fractions.
    """

    variable: str
    label: str
    question: str
    n: int
    gain: Interval
    coverage: Interval
    agreement: float
    mae: float


def numeric_slices(variable: str, values: NDArray[Any], parts: int = PARTS) -> tuple[Slice, ...]:
    """Parts of about the same number of galaxies, lowest values first; unknown values (NaN) are in none.

    Equal values stay together, so there may be fewer parts.
    """
    numbers = np.asarray(values, dtype=np.float64)
    known = np.isfinite(numbers)
    if not known.any():
        return ()
    edges = np.unique(np.quantile(numbers[known], np.linspace(0, 1, parts + 1)))
    if len(edges) == 1:
        return (Slice(variable, f"{edges[0]:.4g}", known),)
    place = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
    cut = [
        Slice(variable, f"{low:.4g} to {high:.4g}", known & (place == i))
        for i, (low, high) in enumerate(pairwise(edges.tolist()))
    ]
    return tuple(part for part in cut if part.rows.any())


def category_slices(variable: str, values: Sequence[str | None], most: int = CATEGORIES) -> tuple[Slice, ...]:
    """One slice a value, the commonest first; what is rarer than the `most` commonest is in none."""
    names = np.array(["" if value is None else value for value in values], dtype=str)
    distinct, counts = np.unique(names[names != ""], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return tuple(Slice(variable, str(distinct[i]), names == distinct[i]) for i in order)


def slices_of(variable: str, values: Sequence[Any]) -> tuple[Slice, ...]:
    """Slices of a column: of numbers with more than `CATEGORIES` values by quantile, of all else by value."""
    known = [value for value in values if value is not None]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
    if numeric and len(set(known)) > CATEGORIES:
        return numeric_slices(variable, np.array([np.nan if value is None else value for value in values]))
    return category_slices(variable, [None if value is None else str(value) for value in values])


def slice_scores(
    scores: GalaxyScores,
    slices: Sequence[Slice],
    questions: Sequence[str],
    *,
    fewest: int = FEWEST,
    resamples: int = 500,
    seed: int = 42,
) -> tuple[SliceScore, ...]:
    """Every question in every slice where at least `fewest` galaxies count, slice by slice."""
    gain = scores.nll_constant - scores.nll
    result = []
    for part in slices:
        chosen = scores.counted & part.rows[:, None]
        kept = np.flatnonzero(chosen.sum(axis=0) >= max(1, fewest)).tolist()
        if not kept:
            continue
        rows = chosen.any(axis=1)
        values = np.hstack([gain[rows][:, kept], scores.inside[rows][:, kept]])
        counted = chosen[rows][:, kept]
        found = bootstrap_means(values, np.hstack([counted, counted]), resamples=resamples, seed=seed)
        for i, q in enumerate(kept):
            mine = chosen[:, q]
            result.append(
                SliceScore(
                    variable=part.variable,
                    label=part.label,
                    question=questions[q],
                    n=int(mine.sum()),
                    gain=found[i],
                    coverage=found[len(kept) + i],
                    agreement=float(scores.agrees[mine, q].mean()),
                    mae=float(scores.error[mine, q].mean()),
                )
            )
    return tuple(result)


def _by_question(values: NDArray[np.float64], tree: DecisionTree) -> NDArray[np.float64]:
    return np.stack([values[:, part].mean(axis=1) for part in tree.slices], axis=1)
