from __future__ import annotations

import numpy as np
import pytest

from gzflow.evaluation.fraction_errors import answer_scores, mean_over_answers
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree((Question("a", ("x", "y")),))


@pytest.fixture(scope="module")
def noisy():
    """Votes of 20 to 40 volunteers, true fractions, and predictions that are off by 0.05."""
    generator = np.random.default_rng(3)
    n = 6000
    truth = generator.uniform(0.15, 0.85, n)
    predicted = truth + generator.normal(0, 0.05, n)
    totals = generator.integers(20, 41, n)
    k = generator.binomial(totals, truth)
    return np.stack([k, totals - k], axis=1), *(np.stack([p, 1 - p], axis=1) for p in (truth, predicted))


def test_what_is_left_after_the_noise_is_the_error_against_the_truth(noisy) -> None:
    votes, truth, predicted = noisy
    score = answer_scores(predicted, votes, TREE, np.array([0.5, 0.5]), resamples=50)[0]
    error = (predicted - truth)[:, 0]
    assert score.rmse.mean > 0.09
    np.testing.assert_allclose(score.rmse_corrected, np.sqrt((error**2).mean()), rtol=0.05)
    np.testing.assert_allclose(score.mae_corrected, np.abs(error).mean(), rtol=0.1)
    np.testing.assert_allclose(score.bias, 0, atol=0.005)
    assert score.mae.lower < score.mae.mean < score.mae.upper


def test_the_truth_itself_is_at_the_floor(noisy) -> None:
    votes, truth, _ = noisy
    score = answer_scores(truth, votes, TREE, np.array([0.5, 0.5]), resamples=50)[0]
    np.testing.assert_allclose(score.mae.mean, score.mae_noise, rtol=0.03)
    assert score.rmse_corrected < 0.02
    assert score.mae_corrected < 0.02
    assert score.mae.mean < score.mae_constant


def test_single_votes_leave_the_noise_unknown() -> None:
    votes = np.array([[1, 0], [0, 1], [1, 0]])
    score = answer_scores(np.full((3, 2), 0.5), votes, TREE, np.array([0.5, 0.5]), floor=1, resamples=20)[0]
    assert score.n == 3
    assert np.isnan(score.rmse_corrected)


def test_an_answer_without_galaxies_counts_in_no_mean(sample) -> None:
    predicted = np.full(sample.votes.shape, 0.4)
    votes = sample.votes.copy()
    votes[:, sample.tree.slices[2]] = 0
    scores = answer_scores(predicted, votes, sample.tree, np.full(8, 0.4), resamples=20)
    assert [score.n for score in scores[-3:]] == [0, 0, 0]
    known = [score.mae.mean for score in scores[:-3]]
    np.testing.assert_allclose(mean_over_answers(scores)["mae"], np.mean(known))
