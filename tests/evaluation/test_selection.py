from __future__ import annotations

import numpy as np
import pytest

from gzflow.errors import EvaluationError
from gzflow.evaluation.selection import at_least, floor_of, selected, vote_fractions
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree((Question("a", ("x", "y")), Question("b", ("yes", "no"), ("a=x",))))
VOTES = np.array(
    [
        [20, 0, 18, 2],  # everybody went on, and they agree
        [10, 10, 5, 5],  # exactly half went on
        [12, 11, 6, 5],  # 11 of 23: less than half
        [4, 4, 2, 2],  # few votes
        [0, 0, 0, 0],
    ]
)


def test_one_vote_is_not_a_plural() -> None:
    assert (at_least(1), at_least(10)) == ("1 vote or more", "10 votes or more")


def test_asked_means_enough_votes() -> None:
    np.testing.assert_array_equal(selected(VOTES, TREE, "asked", 10)[:, 1], [True, True, True, False, False])


def test_half_is_enough_and_less_is_not() -> None:
    np.testing.assert_array_equal(selected(VOTES, TREE, "half-asked", 10)[:, 1], [True, True, False, False, False])


def test_confident_means_more_than_eighty_per_cent() -> None:
    np.testing.assert_array_equal(selected(VOTES, TREE, "confident", 10)[:, 1], [True, False, False, False, False])
    four_fifths = np.array([[16, 4, 8, 8]])
    assert not selected(four_fifths, TREE, "confident", 10)[0, 0]


def test_nobody_is_confident_with_few_votes() -> None:
    few = np.array([[19, 0, 19, 0], [20, 0, 20, 0]])
    np.testing.assert_array_equal(selected(few, TREE, "confident", 1), [[False, False], [True, True]])
    assert (floor_of("confident", 5), floor_of("confident", 30), floor_of("asked", 0)) == (20, 30, 1)


def test_a_floor_of_nothing_still_needs_one_vote() -> None:
    assert not selected(VOTES, TREE, "asked", 0)[4].any()


def test_fractions_are_unknown_where_nobody_was_asked() -> None:
    fractions = vote_fractions(VOTES, TREE)
    np.testing.assert_allclose(fractions[0], [1, 0, 0.9, 0.1])
    assert np.isnan(fractions[4]).all()


def test_a_selection_that_is_none_is_refused() -> None:
    with pytest.raises(EvaluationError, match="no selection 'half asked'"):
        selected(VOTES, TREE, "half asked", 10)  # type: ignore[arg-type]
