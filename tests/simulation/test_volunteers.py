from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gzflow import load_survey
from gzflow.errors import SettingsError, SurveyError
from gzflow.simulation.galaxies import ELLIPTICAL, SPIRAL, draw_galaxies
from gzflow.simulation.perception import perceive
from gzflow.simulation.telescopes import TELESCOPES
from gzflow.simulation.volunteers import vote, walk
from gzflow.tree import DecisionTree, Question

SURVEYS = {"decals": "decals", "gz2": "sdss", "hubble": "hubble", "candels": "candels"}


def sky(telescope, n=200, seed=1):
    return draw_galaxies(n, seed, redshifts=telescope.redshifts, footprint=telescope.footprint)


@pytest.mark.parametrize(("survey", "name"), SURVEYS.items())
def test_volunteers_walk_the_real_trees(survey, name):
    telescope, tree = TELESCOPES[name], load_survey(survey).tree
    votes = vote(sky(telescope), telescope, tree, 400, 3)
    assert votes.counts.shape == votes.truth.shape == (200, len(tree.answers))
    assert votes.counts.dtype == votes.asked.dtype == np.int32
    for q, columns in enumerate(tree.slices):
        assert np.array_equal(votes.counts[:, columns].sum(axis=1), votes.asked[:, q])
        assert votes.truth[:, columns].sum(axis=1) == pytest.approx(1)
        assert votes.truth[:, columns].min() >= 0.03 / len(tree.questions[q].answers)
        if parents := tree.parents[q]:
            came = votes.counts[:, [column for _, column in parents]].sum(axis=1)
            assert np.array_equal(votes.asked[:, q], came)  # one volunteer gives one of the parents at most
        else:
            assert (votes.asked[:, q] == 400).all()
    # Every question is asked by somebody, every answer given by somebody.
    assert (votes.counts.sum(axis=0) > 0).all()


@pytest.mark.parametrize(("survey", "name"), SURVEYS.items())
def test_proportion_asked_agrees_with_the_walkers(survey, name):
    telescope, tree = TELESCOPES[name], load_survey(survey).tree
    volunteers = 2000
    votes = vote(sky(telescope, 60), telescope, tree, volunteers, 4)
    expected = tree.proportion_asked(votes.truth)
    error = np.sqrt(np.maximum(expected * (1 - expected), 1e-4) / volunteers)
    assert (np.abs(votes.asked / volunteers - expected) < 5.5 * error + 1e-3).all()


def test_votes_follow_the_truth():
    telescope, tree = TELESCOPES["decals"], load_survey("decals").tree
    votes = vote(sky(telescope, 50), telescope, tree, 3000, 5)
    first = tree.slices[0]
    assert votes.counts[:, first] / 3000 == pytest.approx(votes.truth[:, first], abs=0.045)


def test_same_seed_same_votes():
    telescope, tree = TELESCOPES["decals"], load_survey("decals").tree
    one, same, other = (vote(sky(telescope), telescope, tree, 40, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.counts, same.counts)
    assert not np.array_equal(one.counts, other.counts)


def test_each_galaxy_may_have_its_own_number_of_volunteers():
    telescope, tree = TELESCOPES["decals"], load_survey("decals").tree
    numbers = np.arange(200) % 7
    votes = vote(sky(telescope), telescope, tree, numbers, 1)
    assert np.array_equal(votes.asked[:, 0], numbers)
    assert (votes.counts[numbers == 0] == 0).all()


def test_what_cannot_be_seen_is_called_smooth():
    telescope, tree = TELESCOPES["decals"], load_survey("decals").tree
    galaxies = sky(telescope, 600)
    spirals = galaxies[(galaxies["kind"] == SPIRAL) & (galaxies["arm_strength"] > 0.7)]
    featured = tree.answers.index("smooth-or-featured_featured-or-disk")
    sharp = vote(spirals, telescope, tree, 1, pixscale=0.2).truth[:, featured].mean()
    coarse = vote(spirals, telescope, tree, 1, pixscale=8.0).truth[:, featured].mean()
    assert sharp > 0.8
    assert coarse < 0.5


def test_perception_of_what_is_there():
    telescope = TELESCOPES["decals"]
    galaxies = sky(telescope, 1500)
    seen = perceive(galaxies, telescope)
    assert (seen.arms[galaxies["kind"] == ELLIPTICAL] == 0).all()
    assert seen.featured[galaxies["kind"] == ELLIPTICAL].mean() < 0.2 < seen.featured[galaxies["kind"] == SPIRAL].mean()
    for strength in (seen.arms, seen.bar, seen.edge_on, seen.featured, seen.visibility, seen.companion):
        assert ((strength >= 0) & (strength <= 1)).all()
    distant = perceive(sky(TELESCOPES["hubble"], 300), TELESCOPES["hubble"])
    assert distant.visibility.mean() > 0.3


def test_a_tree_that_volunteers_do_not_know_is_refused_naming_question_and_answer():
    telescope = TELESCOPES["decals"]
    tree = DecisionTree(
        (
            Question("smooth-or-featured", ("smooth", "fluffy")),
            Question("ring", ("yes", "no")),
            Question("odd-feature", ("ring", "merger"), multiple_choice=True),
        )
    )
    with pytest.raises(SurveyError) as caught:
        vote(sky(telescope, 3), telescope, tree, 5)
    message = str(caught.value)
    assert "question 'ring' is not known" in message
    assert "'fluffy'" in message
    assert "check boxes" in message


@pytest.mark.parametrize("arguments", [{"n_volunteers": -1}, {"n_volunteers": 5, "lapse": 0.01}])
def test_impossible_crowds_are_refused(arguments):
    telescope, tree = TELESCOPES["decals"], load_survey("decals").tree
    with pytest.raises(SettingsError, match="cannot simulate"):
        vote(sky(telescope, 3), telescope, tree, **arguments)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(0, 50))
def test_a_question_with_several_parents_is_asked_once(seed, n, volunteers):
    tree = DecisionTree(
        (
            Question("a", ("x", "y")),
            Question("b", ("x", "y", "z")),
            Question("c", ("x", "y"), asked_after=("a=x", "b=x")),
        )
    )
    rng = np.random.default_rng(seed)
    truth = np.concatenate([rng.dirichlet(np.ones(k), n) for k in (2, 3, 2)], axis=1)
    counts, asked = walk(truth, tree, np.full(n, volunteers), rng)
    assert (asked[:, :2] == volunteers).all()
    assert np.array_equal(asked[:, 2], counts[:, 5:].sum(axis=1))
    assert (asked[:, 2] >= np.maximum(counts[:, 0], counts[:, 2])).all()
    assert (asked[:, 2] <= np.minimum(volunteers, counts[:, 0] + counts[:, 2])).all()


def test_walks_in_chunks_count_everybody(monkeypatch):
    monkeypatch.setattr("gzflow.simulation.volunteers.CHUNK", 13)
    tree = DecisionTree((Question("a", ("x", "y")), Question("b", ("x", "y"), asked_after=("a=x",))))
    truth = np.tile([0.5, 0.5, 0.2, 0.8], (9, 1))
    counts, asked = walk(truth, tree, np.full(9, 11), np.random.default_rng(0))
    assert (asked[:, 0] == 11).all()
    assert np.array_equal(asked[:, 1], counts[:, 0])
