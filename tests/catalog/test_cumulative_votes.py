"""Probabilities of the whole way to an answer, as in Kaggle's Galaxy Challenge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gzflow import load_survey
from gzflow.catalog.read import read_catalog
from gzflow.catalog.votes import part_votes, whole_votes
from gzflow.errors import VotesDisagree
from gzflow.surveys import Survey

Make = Callable[..., Survey]
CUMULATIVE = (
    'count = "{question}_{answer}"\ntotal = "{question}_total"',
    'cumulative = "{question}_{answer}"\nvolunteers = 40',
)
COLUMNS = ["disk_yes", "disk_no", "bar_strong", "bar_weak", "bar_no"]
KAGGLE = load_survey("kaggle")


def rows(*values: list[object]) -> pl.DataFrame:
    return pl.DataFrame(values, schema=COLUMNS, orient="row", strict=False)


def cumulative(survey: Survey, fractions: np.ndarray) -> np.ndarray:
    """What the challenge publishes: each fraction times the published probability of the answers that lead there."""
    tree, published = survey.tree, fractions.copy()
    for q in tree.topological:
        leads = [column for _, column in tree.parents[q]]
        if leads and not survey.question[q].rescaled:
            published[:, tree.slices[q]] *= published[:, leads].sum(axis=1, keepdims=True)
    return published


def test_the_three_real_rows_keep_what_they_say(shared_data: Path) -> None:
    path = shared_data / "gz_samples/galaxy_zoo_challenge/training_solutions_rev1.csv"
    found = read_catalog(KAGGLE, path)
    assert (len(found.galaxies), found.failures, found.notes) == (3, (), ())
    assert found.galaxies["id_str"].to_list() == ["100008", "100023", "100053"]
    assert found.galaxies["image"][0] == "100008.jpg"
    raw = pl.read_csv(path)
    votes = found.votes.drop("id_str").to_numpy()
    first = votes[:, :3]
    assert np.abs(first - 42 * raw.select("Class1.1", "Class1.2", "Class1.3").to_numpy()).max() <= 0.5
    # Children of a question that was not rescaled: their probabilities are shares of all 42 volunteers already.
    bars = found.votes.select("bar_yes", "bar_no").to_numpy()
    assert np.abs(bars - 42 * raw.select("Class3.1", "Class3.2").to_numpy()).max() <= 0.5
    assert found.rounding_residual <= 0.5


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_any_walk_of_the_tree_is_found_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fractions = np.zeros((4, len(KAGGLE.tree.answers)))
    for part in KAGGLE.tree.slices:
        fractions[:, part] = rng.dirichlet(np.ones(part.stop - part.start), 4)
    published = cumulative(KAGGLE, fractions)
    frame = pl.DataFrame(published, schema=[column for column, _ in KAGGLE.vote_columns()])
    found = whole_votes(KAGGLE, frame, where="t.csv")
    asked = KAGGLE.tree.proportion_asked(fractions)[:, KAGGLE.tree.question_of_answer]
    assert found.problems == ()
    assert np.abs(found.counts - 42 * asked * fractions).max() <= 0.5 + 1e-9


def test_votes_are_those_of_volunteers_who_came_that_far(survey: Make) -> None:
    found = whole_votes(survey(CUMULATIVE), rows([0.5, 0.5, 0.25, 0.125, 0.125], [0, 1, 0, 0, 0]), where="t.csv")
    assert found.counts.tolist() == [[20, 20, 10, 5, 5], [0, 40, 0, 0, 0]]


@pytest.mark.parametrize(
    ("values", "reason", "words"),
    [
        ([0.5, 0.5, 0.5, 0.25, 0.25], "votes-disagree", "bar: the answers add up to 1, those that lead there to 0.5"),
        ([0.5, 0.2, 0.5, 0, 0], "votes-disagree", "disk: the answers add up to 0.7, everybody's must be 1"),
        ([0.5, None, 0.5, 0, 0], "bad-votes", "disk_no = None"),
        ([1.5, -0.5, 0.5, 0, 0], "bad-votes", "disk_yes = 1.5"),
    ],
    ids=["child", "root", "gap", "outside"],
)
def test_what_no_walk_gives_is_a_problem_of_its_row(survey: Make, values, reason: str, words: str) -> None:
    sound = [[0.5, 0.5, 0.25, 0.125, 0.125]] * 3
    found = whole_votes(survey(CUMULATIVE), rows(values, *sound), where="t.csv")
    ((row, why, detail),) = found.problems
    assert (row, why) == (0, reason)
    assert words in detail
    assert found.counts[0].sum() == 0


def test_rescaled_questions_add_up_to_one_instead(survey: Make) -> None:
    rescaled = survey(CUMULATIVE, ('asked_after = ["disk=yes"]', 'asked_after = ["disk=yes"]\nrescaled = true'))
    found = whole_votes(rescaled, rows([0.5, 0.5, 0.5, 0.25, 0.25]), where="t.csv")
    assert found.counts.tolist() == [[20, 20, 10, 5, 5]]


def test_a_table_of_plain_fractions_is_refused(survey: Make) -> None:
    plain = rows(*[[0.5, 0.5, 0.5, 0.25, 0.25]] * 30)
    assert part_votes(survey(CUMULATIVE), plain).agreement.off == 30
    with pytest.raises(VotesDisagree, match="30 of 30 rows"):
        whole_votes(survey(CUMULATIVE), plain, where="t.csv")
