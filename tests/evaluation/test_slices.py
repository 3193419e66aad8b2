from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gzflow.evaluation.disagreements import worst_disagreements
from gzflow.evaluation.slices import (
    GalaxyScores,
    category_slices,
    numeric_slices,
    slice_scores,
    slices_of,
)
from gzflow.evaluation.weighting import cells_of, post_stratification, weighted_scores

NAMES = ("shape", "edge-on", "arms")


@pytest.fixture(scope="module")
def scores(sample) -> GalaxyScores:
    return GalaxyScores.of(sample.concentrations, sample.votes, sample.tree, sample.baseline, floor=10)


@given(st.lists(st.none() | st.floats(-100, 100), min_size=1, max_size=60))
def test_every_known_value_is_in_one_part(values) -> None:
    numbers = np.array([np.nan if value is None else value for value in values])
    parts = numeric_slices("z", numbers)
    together = sum((part.rows.astype(int) for part in parts), start=np.zeros(len(values), int))
    np.testing.assert_array_equal(together, np.isfinite(numbers).astype(int))


def test_numbers_are_cut_by_quantile_and_names_by_value() -> None:
    parts = slices_of("mag", list(np.arange(100) / 10))
    assert [int(part.rows.sum()) for part in parts] == [25, 25, 25, 25]
    assert parts[0].label == "0 to 2.475"
    named = category_slices("telescope", ["b", "a", "a", None])
    assert [(part.label, int(part.rows.sum())) for part in named] == [("a", 2), ("b", 1)]
    assert [part.label for part in slices_of("active", [True, False, True])] == ["True", "False"]


def test_a_slice_has_the_scores_of_its_galaxies(sample, scores) -> None:
    half = np.arange(400) < 200
    found = slice_scores(scores, category_slices("half", ["first" if row else None for row in half]), NAMES)
    alone = GalaxyScores.of(sample.concentrations[half], sample.votes[half], sample.tree, sample.baseline, floor=10)
    shape = found[0]
    assert (shape.variable, shape.label, shape.question, shape.n) == ("half", "first", "shape", 200)
    np.testing.assert_allclose(shape.gain.mean, (alone.nll_constant - alone.nll)[:, 0].mean())
    np.testing.assert_allclose(shape.mae, alone.error[:, 0].mean())
    np.testing.assert_allclose(shape.coverage.mean, 0.9, atol=0.06)
    assert shape.coverage.lower < shape.coverage.mean < shape.coverage.upper


def test_small_slices_are_left_out(scores) -> None:
    few = np.arange(400) < 5
    assert slice_scores(scores, category_slices("few", ["x" if row else None for row in few]), NAMES) == ()


def test_weights_undo_a_biased_choice() -> None:
    generator = np.random.default_rng(4)
    kind = generator.random(20_000) < 0.2
    value = np.where(kind, 0.9, 0.1)
    chosen = generator.random(20_000) < np.where(kind, 0.8, 0.1)
    weights, uncovered = post_stratification(kind.astype(np.int64), chosen)
    assert value[chosen].mean() > 0.5
    np.testing.assert_allclose(np.average(value, weights=weights), value.mean())
    np.testing.assert_allclose(weights[chosen].mean(), 1)
    assert uncovered == 0


def test_a_cell_without_a_sample_is_said() -> None:
    weights, uncovered = post_stratification(np.array([0, 0, 1, 1]), np.array([True, False, False, False]))
    assert (uncovered, weights.tolist()) == (0.5, [1, 0, 0, 0])


def test_equal_cells_change_nothing(sample, scores) -> None:
    asked = np.stack([sample.votes[:, part].sum(axis=1) > 0 for part in sample.tree.slices], axis=1)
    for found in weighted_scores(scores, np.zeros(400, np.int64), asked, NAMES):
        np.testing.assert_allclose(*found.gain)
        np.testing.assert_allclose(found.effective, found.n)


def test_cells_join_all_variables() -> None:
    parts = (*category_slices("a", ["x", "x", "y", None]), *category_slices("b", ["u", "v", "u", "u"]))
    assert len(set(cells_of(parts, 4).tolist())) == 4
    assert len(set(cells_of(parts[:2], 4).tolist())) == 3


def test_the_worst_is_the_surest_mistake(sample) -> None:
    concentrations, votes = sample.concentrations.copy(), sample.votes.copy()
    votes[7, :3], concentrations[7, :, :3] = (38, 1, 1), (1, 90, 1)
    votes[8, :3], concentrations[8, :, :3] = (38, 1, 1), (1, 2, 1)
    shape = worst_disagreements(concentrations, votes, sample.tree, count=400)[0]
    worst = shape[0]
    assert (worst.row, worst.question, worst.answer, worst.votes) == (7, "shape", "smooth", 40)
    assert worst.observed == 0.95
    assert worst.predicted < 0.05
    assert next(one.surprise for one in shape if one.row == 8) < worst.surprise / 2
    assert all(one.votes >= 20 for one in shape)
    assert min(one.surprise for one in shape) > 0
