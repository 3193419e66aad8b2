"""Which galaxies count for a question."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gzflow.errors import EvaluationError
from gzflow.tree import DecisionTree

Selection = Literal["asked", "half-asked", "confident"]
SELECTIONS: tuple[Selection, ...] = get_args(Selection)

CONFIDENT = 0.8
CONFIDENT_FLOOR = 20
"""The fewest votes that can make volunteers confident: where 70 % of all would agree, more than `CONFIDENT` of 5 votes
do by luck in 17 % of the galaxies, of 20 votes in 11 %, of 40 in 6 %."""
MEANING: dict[Selection, str] = {
    "asked": "every galaxy with enough votes for the question",
    "half-asked": "galaxies where at least half of the volunteers were asked the question",
    "confident": f"of these, galaxies where more than {CONFIDENT:.0%} of the votes agree",
}

SHORT: dict[Selection, str] = {
    "asked": "all galaxies asked",
    "half-asked": "asked of at least half the volunteers",
    "confident": f"over {CONFIDENT:.0%} of the votes agree",
}


def question_totals(votes: NDArray[Any], tree: DecisionTree) -> NDArray[Any]:
    """(n, n_questions) votes cast for each question, from (n, n_answers) counts."""
    return np.add.reduceat(votes, [part.start for part in tree.slices], axis=1)


def floor_of(selection: Selection, floor: int) -> int:
    """The fewest votes that count in a selection: nobody is confident below `CONFIDENT_FLOOR`."""
    return max(1, floor, CONFIDENT_FLOOR if selection == "confident" else 1)


def at_least(floor: int) -> str:
    """The fewest votes that count, in words: labels of one's own are one vote a galaxy."""
    return f"{floor} vote{'' if floor == 1 else 's'} or more"


def usual_floor(totals: NDArray[Any], floor: int) -> int:
    """`floor`, or the galaxies' usual number of votes where that is less; of (n, n_questions) question totals.

    A user's own labels are one vote a galaxy: a floor meant for volunteers would leave nothing to score.
    """
    most = totals.max(axis=1)
    voted = most[most > 0]
    return min(floor, max(1, int(np.median(voted)))) if voted.size else floor


def vote_fractions(votes: NDArray[Any], tree: DecisionTree) -> NDArray[np.float64]:
    """(n, n_answers) shares of each question's votes; NaN where a question got none."""
    totals = question_totals(votes, tree).astype(np.float64)
    per_answer = totals[:, tree.question_of_answer]
    return np.divide(votes, per_answer, out=np.full(votes.shape, np.nan), where=per_answer > 0)


def selected(votes: NDArray[Any], tree: DecisionTree, selection: Selection, floor: int) -> NDArray[np.bool_]:
    """(n, n_questions) whether a galaxy counts for a question.

    Parameters
    ----------
    votes
        (n, n_answers) counts.
    selection
        One of `SELECTIONS`; `MEANING` says each in words. The galaxy's volunteers are the most votes that any of its
        questions got: everybody answers a first question.
    floor
        The fewest votes for the question, at least 1; see `floor_of`.

    Raises
    ------
    EvaluationError
        There is no such selection.
    """
    if selection not in SELECTIONS:
        raise EvaluationError(f"there is no selection {selection!r}", expected=f"one of {', '.join(SELECTIONS)}")
    totals = question_totals(votes, tree)
    chosen = totals >= floor_of(selection, floor)
    if selection == "asked":
        return chosen
    volunteers = totals.max(axis=1, keepdims=True)
    chosen &= 2 * totals >= volunteers
    if selection == "half-asked":
        return chosen
    most = np.maximum.reduceat(votes, [part.start for part in tree.slices], axis=1)
    return chosen & (most > CONFIDENT * totals)
