from __future__ import annotations

import numpy as np

from gzflow.evaluation.bootstrap import bootstrap_means


def test_the_interval_has_the_width_of_the_normal_theory() -> None:
    values = np.random.default_rng(2).normal(1.0, 2.0, (2500, 1))
    interval = bootstrap_means(values, np.ones_like(values, dtype=bool), resamples=1500)[0]
    assert interval.mean == values.mean()
    error = values.std() / 50
    np.testing.assert_allclose(
        [interval.lower, interval.upper], values.mean() + np.array([-1.96, 1.96]) * error, atol=0.012
    )


def test_only_chosen_galaxies_count() -> None:
    values = np.array([[1.0, np.nan], [3.0, 7.0], [1e9, np.nan]])
    chosen = np.array([[True, False], [True, True], [False, False]])
    first, second = bootstrap_means(values, chosen, resamples=300)
    assert first.mean == 2.0
    assert (first.lower, first.upper) == (1.0, 3.0)
    assert (second.mean, second.lower, second.upper) == (7.0, 7.0, 7.0)


def test_nothing_chosen_is_nan_not_an_error() -> None:
    interval = bootstrap_means(np.zeros((3, 1)), np.zeros((3, 1), dtype=bool), resamples=10)[0]
    assert np.isnan([interval.mean, interval.lower, interval.upper]).all()


def test_the_seed_decides() -> None:
    values = np.random.default_rng(3).normal(size=(50, 2))
    chosen = np.ones_like(values, dtype=bool)
    first, again, other = (bootstrap_means(values, chosen, seed=seed, resamples=50) for seed in (1, 1, 2))
    assert first == again
    assert first != other
