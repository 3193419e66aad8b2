from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from gzflow.errors import PredictionError
from gzflow.posterior import fractions, intervals, mixture_quantiles, variances
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree(
    (
        Question("shape", ("round", "disk", "artifact")),
        Question("bar", ("strong", "no"), ("shape=disk",)),
    )
)


def one(*alpha: float) -> np.ndarray:
    """One galaxy, one sample: the given question first, then (1, 1)."""
    return np.array([[[*alpha, 1.0, 1.0]]])


def test_known_values() -> None:
    # Worked out with scipy.stats.beta: Beta(2, 6) and Beta(4, 4).
    lower, upper = intervals(one(2, 2, 4), TREE, 0.9)
    np.testing.assert_allclose(fractions(one(2, 2, 4), TREE)[0, :3], [0.25, 0.25, 0.5])
    np.testing.assert_allclose(variances(one(2, 2, 4), TREE)[0, :3], [0.0208333, 0.0208333, 0.0277778], atol=1e-7)
    np.testing.assert_allclose([lower[0, 0], upper[0, 0]], [0.0533755, 0.52070297], atol=1e-6)
    np.testing.assert_allclose([lower[0, 2], upper[0, 2]], [0.22532158, 0.77467842], atol=1e-6)
    np.testing.assert_allclose([lower[0, 3], upper[0, 3]], [0.05, 0.95], atol=1e-6)


def test_fractions_are_the_mean_of_shares_not_the_share_of_means() -> None:
    samples = np.array([[[1.0, 3, 1, 1, 1], [90, 5, 5, 1, 1]]])
    np.testing.assert_allclose(fractions(samples, TREE)[0, :3], [(0.2 + 0.9) / 2, (0.6 + 0.05) / 2, (0.2 + 0.05) / 2])


def test_fractions_of_a_question_add_up_to_one() -> None:
    alpha = np.random.default_rng(1).uniform(1, 101, (50, 7, 5))
    found = fractions(alpha, TREE)
    np.testing.assert_allclose(found[:, :3].sum(1), 1)
    np.testing.assert_allclose(found[:, 3:].sum(1), 1)


def test_variance_and_interval_match_draws_from_the_mixture() -> None:
    rng = np.random.default_rng(2)
    alpha = np.exp(rng.normal(1.5, 0.8, (3, 5, 5))) + 1
    lower, upper = intervals(alpha, TREE, 0.8)
    spread = variances(alpha, TREE)
    for g in range(3):
        draws = np.concatenate([rng.dirichlet(alpha[g, s, :3], 100_000) for s in range(5)])
        np.testing.assert_allclose(draws.var(0), spread[g, :3], rtol=0.02)
        np.testing.assert_allclose(np.quantile(draws, 0.1, axis=0), lower[g, :3], atol=0.003)
        np.testing.assert_allclose(np.quantile(draws, 0.9, axis=0), upper[g, :3], atol=0.003)


concentration = st.floats(1, 500)


@given(
    components=st.lists(st.tuples(concentration, concentration), min_size=1, max_size=8),
    level=st.floats(0.001, 0.999),
)
@example(components=[(1.0, 90.0), (241.0, 1.0)], level=0.375)  # two narrow peaks far apart
@settings(max_examples=150, deadline=None)
def test_the_probability_below_a_quantile_is_the_level(components: list[tuple[float, float]], level: float) -> None:
    a, b = np.array(components).T
    found = mixture_quantiles(a[None], b[None], np.array([level]))[0, 0]
    assert beta.cdf(found, a, b).mean() == pytest.approx(level, abs=1e-6)


@pytest.mark.parametrize("scatter", [0.0, 0.2, 3.0])
def test_many_mixtures_at_once_match_scipy(scatter: float) -> None:
    rng = np.random.default_rng(3)
    a = np.exp(rng.uniform(0, 4.6, (300, 1)) + scatter * rng.normal(size=(300, 20))).clip(1, 500)
    b = np.exp(rng.uniform(0, 6, (300, 1)) + scatter * rng.normal(size=(300, 20))).clip(1, 500)
    found = mixture_quantiles(a, b, np.array([0.05, 0.5, 0.95]))
    for level, row in zip([0.05, 0.5, 0.95], found, strict=True):
        np.testing.assert_allclose(beta.cdf(row[:, None], a, b).mean(1), level, atol=1e-6)


def test_concentrations_below_one_keep_four_digits() -> None:
    rng = np.random.default_rng(4)
    a, b = np.exp(rng.uniform(np.log(0.1), 0, (2, 200, 3)))
    found = mixture_quantiles(a, b, np.array([0.05, 0.95]))
    np.testing.assert_allclose(beta.cdf(found[0][:, None], a, b).mean(1), 0.05, atol=2e-4)
    np.testing.assert_allclose(beta.cdf(found[1][:, None], a, b).mean(1), 0.95, atol=2e-4)


def test_interval_holds_the_scatter_between_samples() -> None:
    # Each sample is sure of itself and they disagree: the mixture must span both.
    samples = np.array([[[100.0, 5, 1, 1, 1], [5.0, 100, 1, 1, 1]]])
    lower, upper = intervals(samples, TREE)
    assert lower[0, 0] < 0.1
    assert upper[0, 0] > 0.9


def test_intervals_nest_and_contain_the_median() -> None:
    alpha = np.random.default_rng(5).uniform(1, 101, (20, 4, 5))
    wide, narrow = intervals(alpha, TREE, 0.99), intervals(alpha, TREE, 0.5)
    assert (wide[0] < narrow[0]).all()
    assert (narrow[1] < wide[1]).all()


def test_no_galaxy_gives_no_rows() -> None:
    lower, upper = intervals(np.ones((0, 3, 5)), TREE)
    assert lower.shape == upper.shape == (0, 5)


def test_half_precision_is_read_as_numbers() -> None:
    np.testing.assert_allclose(fractions(one(2, 2, 4).astype(np.float16), TREE)[0, 2], 0.5)


@pytest.mark.parametrize(
    ("alpha", "said"),
    [
        (np.ones((4, 5)), r"shape \(4, 5\).*\n.*expected: \(n_galaxies, n_samples, 5\)"),
        (np.ones((4, 0, 5)), "one sample or more"),
        (one(1, np.nan, 1), "1 galaxies have concentrations.*\n.*questions: shape"),
        (one(1, 0, 1), "not positive and finite"),
    ],
)
def test_wrong_input_is_named(alpha: np.ndarray, said: str) -> None:
    with pytest.raises(PredictionError, match=said):
        intervals(alpha, TREE)


def test_level_must_be_a_probability() -> None:
    with pytest.raises(PredictionError, match="level is 90"):
        intervals(one(1, 1, 1), TREE, 90)
