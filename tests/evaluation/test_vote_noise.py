from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from gzflow.evaluation.vote_noise import chance_of_exceeding, mean_absolute_noise, noise_variance


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 200), st.sampled_from([0.0, 1.0]) | st.floats(1e-6, 1 - 1e-6))
def test_the_floor_is_the_sum_over_all_counts(votes: int, p: float) -> None:
    counts = np.arange(votes + 1)
    expected = (binom.pmf(counts, votes, p) * np.abs(counts / votes - p)).sum()
    np.testing.assert_allclose(mean_absolute_noise(p, votes), expected, atol=1e-9)


def test_twenty_votes_alone_are_off_by_eight_per_cent() -> None:
    np.testing.assert_allclose(mean_absolute_noise(0.3, 20), 0.0805, atol=1e-4)


@pytest.mark.parametrize(("votes", "p"), [(5, 0.7), (20, 0.3)])
def test_the_variance_is_estimated_without_bias(votes: int, p: float) -> None:
    counts = np.arange(votes + 1)
    estimates = noise_variance(counts / votes, np.full(votes + 1, votes))
    np.testing.assert_allclose((binom.pmf(counts, votes, p) * estimates).sum(), p * (1 - p) / votes, rtol=1e-9)


def test_one_vote_tells_nothing_of_the_noise() -> None:
    assert np.isnan(noise_variance(np.array([1.0]), np.array([1]))).all()


def test_few_votes_exceed_four_fifths_by_luck() -> None:
    assert round(chance_of_exceeding(0.8, 5, 0.7), 2) == 0.17  # only five of five exceed
    assert chance_of_exceeding(0.8, 40, 0.7) < 0.06
