from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gzflow.evaluation.galaxy_table import galaxy_table
from gzflow.evaluation.ranking import top_galaxies
from gzflow.evaluation.report import GalaxyCard, Report, Section, render_report
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree((Question("arms", ("yes", "no"), ("shape=featured",)), Question("shape", ("smooth", "featured"))))


def fractions_of(featured: float, arms: float) -> list[float]:
    return [arms, 1 - arms, 1 - featured, featured]


def test_a_feature_of_a_question_nobody_is_asked_ranks_nowhere() -> None:
    fractions = np.array([fractions_of(0.1, 0.99), fractions_of(0.9, 0.6), fractions_of(0.6, 0.8)])
    best = top_galaxies(fractions, TREE, ("arms_yes",))[0]
    np.testing.assert_array_equal(best.indices, [1, 2])
    np.testing.assert_allclose(best.scores, [0.54, 0.48])
    np.testing.assert_allclose(best.fractions, [0.6, 0.8])
    assert (best.question, best.answer, best.n_relevant) == ("arms", "yes", 2)


def test_an_answer_without_candidates_is_empty() -> None:
    best = top_galaxies(np.array([fractions_of(0.1, 1.0)]), TREE, ("arms_yes",))[0]
    assert len(best.indices) == 0


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30), st.integers(1, 6))
def test_scores_descend_and_no_left_out_candidate_is_better(pairs, count: int) -> None:
    fractions = np.array([fractions_of(*pair) for pair in pairs])
    for best in top_galaxies(fractions, TREE, count=count):
        assert list(best.scores) == sorted(best.scores, reverse=True)
        assert len(best.indices) == min(count, best.n_relevant)
    arms = top_galaxies(fractions, TREE, ("arms_yes",), count=count)[0]
    score = fractions[:, 0] * fractions[:, 3]
    rest = np.setdiff1d(np.flatnonzero(fractions[:, 3] >= 0.5), arms.indices)
    if len(rest) and len(arms.scores):
        assert score[rest].max() <= arms.scores[-1]


def test_the_table_follows_the_volunteers_and_sorts_answers() -> None:
    fractions = np.array([0.3, 0.7, 0.9, 0.1])
    table = galaxy_table("J1", fractions, fractions - 0.05, fractions + 0.05, TREE, votes=np.array([0, 0, 8, 2]))
    shape, arms = table.rows
    assert (shape.question, arms.question) == ("shape", "arms")
    assert [cell.answer for cell in arms.answers] == ["no", "yes"]
    assert shape.relevant
    assert not arms.relevant  # one in ten would be asked
    assert shape.answers[0].sure
    assert shape.answers[0].volunteers == 0.8
    assert (arms.votes, arms.answers[0].volunteers) == (0, None)
    assert table.has_votes


def test_intervals_that_are_withheld_do_not_stand_in_the_table_nor_on_a_page() -> None:
    fractions = np.array([0.3, 0.7, 0.9, 0.1])
    table = galaxy_table("J1", fractions, fractions - 0.05, fractions + 0.05, TREE, withheld=("arms",))
    shape, arms = table.rows
    assert [cell.lower is None for cell in (*shape.answers, *arms.answers)] == [False, False, True, True]
    page = render_report(Report("A galaxy", "", (), (Section("One", items=(GalaxyCard(table, None),)),)))
    assert "(0.85–0.95)" in page
    assert "(0.65–0.75)" not in page
    assert "one vote a galaxy does not tell" in page


def test_without_votes_there_is_no_volunteers_column() -> None:
    fractions = np.array([0.5, 0.5, 0.5, 0.5])
    assert not galaxy_table("J1", fractions, fractions, fractions, TREE).has_votes
