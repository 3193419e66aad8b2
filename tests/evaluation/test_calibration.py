from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom, kstest

from gzflow.evaluation.calibration import LEVELS, covered, predictive_steps
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree((Question("a", ("x", "y", "z")),))


def test_one_count_against_scipy() -> None:
    votes, alpha = np.array([[3, 9, 8]]), np.array([[[2.0, 5.0, 4.0], [6.0, 5.0, 9.0]]])
    found = covered(votes, alpha, TREE)[0]
    for answer in range(3):
        beta = alpha[0].sum(axis=1) - alpha[0, :, answer]
        below = betabinom.cdf(votes[0, answer] - 1, 20, alpha[0, :, answer], beta).mean()
        upto = betabinom.cdf(votes[0, answer], 20, alpha[0, :, answer], beta).mean()
        expected = np.clip((min(upto, 0.95) - max(below, 0.05)) / (upto - below), 0, 1)
        np.testing.assert_allclose(found[answer], expected, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 600), st.floats(0, 1), st.floats(1, 101), st.floats(1, 101))
def test_far_tails_agree_with_scipy(total: int, share: float, a: float, b: float) -> None:
    tree = DecisionTree((Question("a", ("yes", "no")),))
    k = round(share * total)
    found = covered(np.array([[k, total - k]]), np.array([[[a, b]]]), tree)[0, 0]
    below, at = betabinom.cdf(k - 1, total, a, b), betabinom.pmf(k, total, a, b)
    if at > 1e-12:  # further out scipy's own differences are rounding
        expected = np.clip((min(below + at, 0.95) - max(below, 0.05)) / at, 0, 1)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    else:
        assert found == 0


@pytest.mark.parametrize(("volunteers", "level"), [(3, 0.9), (40, 0.9), (40, 0.5)])
def test_right_predictions_are_covered_at_their_level(volunteers: int, level: float) -> None:
    generator = np.random.default_rng(volunteers)
    alpha = np.exp(generator.uniform(0, 3, (4000, 2, 3)))
    which = generator.integers(2, size=4000)
    votes = np.stack(
        [generator.multinomial(volunteers, generator.dirichlet(a[k])) for a, k in zip(alpha, which, strict=True)]
    )
    np.testing.assert_allclose(covered(votes, alpha, TREE, level).mean(), level, atol=0.015)


def test_overconfidence_is_seen() -> None:
    generator = np.random.default_rng(9)
    alpha = np.exp(generator.uniform(0, 2, (2000, 1, 3)))
    votes = np.stack([generator.multinomial(30, generator.dirichlet(a[0])) for a in alpha])
    assert covered(votes, alpha * 20, TREE).mean() < 0.65


def test_unasked_is_unknown() -> None:
    assert np.isnan(covered(np.zeros((2, 3), dtype=int), np.ones((2, 1, 3)), TREE)).all()


def test_transforms_of_right_predictions_are_uniform_and_follow_the_seed(sample) -> None:
    steps = predictive_steps(sample.votes, sample.concentrations, sample.tree)
    first = steps.transforms(seed=1)
    np.testing.assert_array_equal(first, steps.transforms(seed=1))
    assert (first[np.isfinite(first)] != steps.transforms(seed=2)[np.isfinite(first)]).any()
    # One answer alone: the answers of a galaxy are not independent.
    assert kstest(first[:, 0], "uniform").pvalue > 0.01
    narrow = predictive_steps(sample.votes, sample.concentrations * 30, sample.tree).transforms()
    assert kstest(narrow[:, 0], "uniform").pvalue < 1e-4


def test_all_levels_come_from_the_same_steps(sample) -> None:
    steps = predictive_steps(sample.votes, sample.concentrations, sample.tree)
    for level in LEVELS:
        np.testing.assert_array_equal(
            steps.inside(level), covered(sample.votes, sample.concentrations, sample.tree, level)
        )
        np.testing.assert_allclose(np.nanmean(steps.inside(level)), level, atol=0.03)
