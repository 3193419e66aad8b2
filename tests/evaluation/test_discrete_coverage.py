from __future__ import annotations

import numpy as np
from scipy.stats import betabinom

from gzflow.evaluation.discrete_coverage import discrete_coverage
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree((Question("a", ("x", "y", "z")),))


def test_the_expected_share_is_scipys_mass_around_the_expected_count() -> None:
    votes, alpha = np.array([[3, 9, 8], [0, 0, 5]]), np.array([[[2.0, 5, 4], [6, 5, 9]], [[1, 1, 60.0], [1, 2, 50]]])
    chosen = np.ones((2, 1), dtype=bool)
    (found,) = discrete_coverage(votes, alpha, TREE, chosen, distances=(0, 2, 7))
    expected, observed = np.zeros((2, 4))
    for row in range(2):
        n = votes[row].sum()
        for answer in range(3):
            a, total = alpha[row, :, answer], alpha[row].sum(axis=1)
            centre = round(n * (a / total).mean())
            for i, distance in enumerate((0, 2, 7, n // 5)):
                low, high = centre - distance - 1, centre + distance
                mass = betabinom.cdf(high, n, a, total - a) - betabinom.cdf(low, n, a, total - a)
                expected[i] += mass.mean() / 6
                observed[i] += (abs(votes[row, answer] - centre) <= distance) / 6
    np.testing.assert_allclose([*found.expected, found.expected_in_deviation], expected, atol=1e-9)
    np.testing.assert_allclose([*found.observed, found.observed_in_deviation], observed)
    assert found.n == 2


def test_right_predictions_come_true_as_often_as_they_say(sample) -> None:
    chosen = np.ones((len(sample.votes), len(sample.tree.questions)), dtype=bool)
    for found in discrete_coverage(sample.votes, sample.concentrations, sample.tree, chosen):
        np.testing.assert_allclose(found.observed, found.expected, atol=0.06)
        assert (np.diff(found.expected) > 0).all()


def test_overconfidence_hits_less_often_than_it_says(sample) -> None:
    chosen = np.ones((len(sample.votes), len(sample.tree.questions)), dtype=bool)
    found = discrete_coverage(sample.votes, sample.concentrations * 30, sample.tree, chosen)[0]
    assert found.observed_in_deviation < found.expected_in_deviation - 0.05


def test_no_galaxy_gives_nan(sample) -> None:
    found = discrete_coverage(sample.votes, sample.concentrations, sample.tree, np.zeros((400, 3), dtype=bool))[1]
    assert found.n == 0
    assert np.isnan([*found.expected, *found.observed, found.observed_in_deviation]).all()
