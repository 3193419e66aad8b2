"""Galaxies that show a feature best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gzflow.tree import DecisionTree

RELEVANT = 0.5
"""Below this proportion asked, a question says little about the galaxy: it is greyed, and ranks nowhere."""


@dataclass(frozen=True)
class TopGalaxies:
    """The best galaxies for one answer, best first.

    Attributes
    ----------
    question, answer
        Names.
    indices
        (k,) rows of the ranked fractions.
    scores
        (k,) fraction giving the answer times proportion asked: the share of ALL volunteers expected to give it.
    fractions
        (k,) fraction giving the answer among those asked.
    n_relevant
        Galaxies ranked: at least `RELEVANT` of the volunteers are expected to be asked.
    """

    question: str
    answer: str
    indices: NDArray[np.int64]
    scores: NDArray[np.float64]
    fractions: NDArray[np.float64]
    n_relevant: int


def top_galaxies(
    fractions: NDArray[Any],
    tree: DecisionTree,
    answers: tuple[str, ...] | None = None,
    *,
    count: int = 5,
    relevant: float = RELEVANT,
) -> tuple[TopGalaxies, ...]:
    """The `count` best galaxies for each of some ``{question}_{answer}`` columns (all of the tree's by default).

    Parameters
    ----------
    fractions
        (n, n_answers) predicted vote fractions.
    relevant
        The least proportion asked; an answer that no galaxy qualifies for comes back empty.
    """
    asked = tree.proportion_asked(fractions)
    columns = {name: i for i, name in enumerate(tree.answers)}
    result = []
    for name in tree.answers if answers is None else answers:
        column = columns[name]
        q = int(tree.question_of_answer[column])
        question = tree.questions[q]
        candidates = np.flatnonzero(asked[:, q] >= relevant)
        scores = fractions[candidates, column] * asked[candidates, q]
        # Stable, so that equal scores keep the order of the galaxies and a rerun shows the same pictures.
        order = np.argsort(-scores, kind="stable")[:count]
        chosen = candidates[order]
        result.append(
            TopGalaxies(
                question=question.name,
                answer=question.answers[column - tree.slices[q].start],
                indices=chosen,
                scores=scores[order].astype(np.float64),
                fractions=fractions[chosen, column].astype(np.float64),
                n_relevant=len(candidates),
            )
        )
    return tuple(result)
