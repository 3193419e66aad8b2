from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from gzflow.errors import PredictionError
from gzflow.posterior import (
    count_variances,
    expected_votes,
    fractions,
    intervals,
    mixture_quantiles,
    proportions_asked,
    variances,
)
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


MANY_WAYS = DecisionTree(
    (
        Question("shape", ("round", "disk", "odd")),
        Question("edge-on", ("yes", "no"), ("shape=disk",)),
        Question("merging", ("yes", "no"), ("shape=round", "edge-on=yes", "edge-on=no")),
        Question("bulge", ("big", "none"), ("edge-on=yes", "shape=odd")),
    )
)


def walk(alpha: np.ndarray, tree: DecisionTree, n_volunteers: int, rng: np.random.Generator) -> np.ndarray:
    """(n_answers,) votes of volunteers who walk the tree, all of them with a sample and fractions of their own."""
    sample = rng.integers(len(alpha), size=n_volunteers)
    given = np.zeros((n_volunteers, len(tree.answers)), bool)
    for q in tree.topological:
        asked = (
            np.any([given[:, column] for _, column in tree.parents[q]], axis=0)
            if tree.parents[q]
            else np.ones(n_volunteers, bool)
        )
        part = tree.slices[q]
        for s in range(len(alpha)):
            who = np.flatnonzero(asked & (sample == s))
            draws = rng.dirichlet(alpha[s, part], len(who))
            answer = (draws.cumsum(1) < rng.random((len(who), 1))).sum(1)
            given[who, part.start + np.minimum(answer, draws.shape[1] - 1)] = True
    return given.sum(0)


def test_shares_asked_and_votes_are_those_of_volunteers_who_walk_the_tree() -> None:
    rng = np.random.default_rng(6)
    # Samples that disagree: questions then go together, and products of means would be wrong.
    alpha = np.array([[[1, 9, 0.5, 9, 1, 1, 4, 2, 6], [9, 1, 2, 1, 9, 5, 3, 1, 1], [4, 5, 1, 3, 1, 1, 2, 8, 1]]])
    n = 400_000
    votes = walk(alpha[0], MANY_WAYS, n, rng)
    np.testing.assert_allclose(expected_votes(alpha, MANY_WAYS, 40)[0], 40 * votes / n, atol=40 * 0.004)
    asked = np.add.reduceat(votes, [part.start for part in MANY_WAYS.slices]) / n
    found = proportions_asked(alpha, MANY_WAYS)
    np.testing.assert_allclose(found[0], asked, atol=0.004)
    of_means = MANY_WAYS.proportion_asked(fractions(alpha, MANY_WAYS))
    assert np.abs(of_means[0] - asked).max() > 0.05


def test_one_sample_asks_the_product_of_its_fractions() -> None:
    alpha = np.random.default_rng(7).uniform(1, 101, (9, 1, len(MANY_WAYS.answers)))
    share = fractions(alpha, MANY_WAYS)
    np.testing.assert_allclose(proportions_asked(alpha, MANY_WAYS), MANY_WAYS.proportion_asked(share))
    votes = expected_votes(alpha, MANY_WAYS, 1)
    np.testing.assert_allclose(votes[:, 3:5].sum(1), share[:, 1])
    np.testing.assert_allclose(votes[:, :3], share[:, :3])


@pytest.mark.parametrize("n_votes", [1, 5, 40])
def test_count_variance_is_that_of_drawn_votes(n_votes: int) -> None:
    rng = np.random.default_rng(8)
    alpha = np.array([[[2.0, 5, 3, 1, 1], [30, 6, 4, 1, 1]]])
    draws = np.concatenate([rng.dirichlet(one[:3], 200_000) for one in alpha[0]])
    observed = rng.multinomial(n_votes, draws) / n_votes
    found = count_variances(fractions(alpha, TREE), variances(alpha, TREE), n_votes)
    np.testing.assert_allclose(found[0, :3], observed.var(0), rtol=0.02)


def test_count_variance_of_one_dirichlet_has_its_closed_form() -> None:
    alpha = one(2, 2, 4)
    a, total, n = np.array([2.0, 2, 4]), 8.0, np.array([[3.0], [40.0]])
    expected = a * (total - a) * (n + total) / (n * total**2 * (total + 1))
    found = count_variances(fractions(alpha, TREE)[:, :3], variances(alpha, TREE)[:, :3], n)
    np.testing.assert_allclose(found, expected)
    assert np.isnan(count_variances(0.3, 0.01, 0))
    np.testing.assert_allclose(count_variances(0.3, 0.01, 1e12), 0.01)


@pytest.mark.parametrize("volunteers", [0, -3, np.nan, np.inf])
def test_volunteers_are_somebody(volunteers: float) -> None:
    with pytest.raises(PredictionError, match="volunteers"):
        expected_votes(one(1, 1, 1), TREE, volunteers)
