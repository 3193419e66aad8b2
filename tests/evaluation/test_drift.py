from __future__ import annotations

import numpy as np
import pytest

from gzflow.evaluation.drift import Drift, DriftCount
from gzflow.evaluation.figures import figure_png
from gzflow.evaluation.figures.drift import drift_figure

LEVELS = np.linspace(0, 1, 101)
NAMES = ("image_sky", "image_saturation")


def training(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    # Most pictures saturate nowhere: quantiles that are all alike.
    return np.column_stack([rng.normal(30, 5, n), np.maximum(rng.normal(-0.1, 0.1, n), 0)])


def counted(support: np.ndarray, statistics: np.ndarray, parts: int = 3) -> Drift:
    known = training(4000, 1)
    count = DriftCount(NAMES, np.quantile(known, LEVELS, axis=0), n_known=len(known), n_held_out=900, false_alarms=0.05)
    for rows in np.array_split(np.arange(len(support)), parts):
        count.add(support[rows], support[rows], statistics[rows])
    return count.result()


def test_galaxies_like_those_of_the_training_do_not_drift() -> None:
    p = np.random.default_rng(2).uniform(size=3000)
    drift = counted(p, training(3000, 3))
    assert not drift.drifts
    assert drift.out == pytest.approx((p < 0.05).mean())
    assert max(number.distance for number in drift.numbers) < 0.05
    assert "neither features nor pictures differ" in drift.sentence()


def test_what_moved_is_named_with_how_far() -> None:
    p = np.random.default_rng(2).uniform(size=3000)
    statistics = training(3000, 3) + np.array([5, 0])
    drift = counted(p, statistics)
    moved = next(number for number in drift.numbers if number.drifts)
    # Two normals a standard deviation apart are erf(1 / sqrt 8) apart.
    assert moved.name == "image_sky"
    assert moved.distance == pytest.approx(0.383, abs=0.04)
    assert (moved.median, moved.usual) == pytest.approx((35, 30), abs=0.7)
    assert "differ from the training's in image_sky (0.3" in drift.sentence()
    assert figure_png(drift_figure(drift)).startswith(b"\x89PNG")


def test_many_galaxies_out_of_support_are_a_drift_by_themselves() -> None:
    p = np.random.default_rng(2).uniform(size=3000)
    # In 12 of 100 galaxies something is odd that no single number shows.
    count = DriftCount((), np.zeros((101, 0)), n_known=4000, n_held_out=900, false_alarms=0.05)
    count.add(np.where(np.arange(3000) % 8 == 0, 0.001, p), p, np.zeros((3000, 0)))
    drift = count.result()
    assert drift.out > drift.allowed
    assert drift.drifts
    assert not any(number.drifts for number in drift.numbers)


def test_parts_make_no_difference() -> None:
    p = np.random.default_rng(2).uniform(size=500)
    assert counted(p, training(500, 3), parts=1) == counted(p, training(500, 3), parts=7)
    assert counted(p[:0], training(0, 3), parts=1).n == 0


def test_galaxies_nearer_to_the_training_than_others_are_no_drift() -> None:
    assert not counted(np.ones(3000), training(3000, 3)).drifts
