"""The scoring itself, on a sky whose truth is known: who predicts with the truth is found calibrated everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from gzflow.evaluation.metrics import Evaluation, evaluate
from gzflow.evaluation.slices import GalaxyScores, numeric_slices, slice_scores
from gzflow.model.losses import constant_dirichlet
from gzflow.simulation.survey import SimulatedSurvey

SURE = 1e5
"""A Dirichlet so narrow that it is the truth alone."""


@pytest.fixture(scope="module")
def sky() -> SimulatedSurvey:
    return SimulatedSurvey.draw("decals", 4000, 7, pixels=64)


@pytest.fixture(scope="module")
def truth(sky) -> tuple[np.ndarray, Evaluation]:
    tree, votes = sky.base.tree, sky.votes.counts
    concentrations = (SURE * sky.votes.truth)[:, None]
    return concentrations, evaluate(concentrations, votes, tree, constant_dirichlet(votes, tree), resamples=50)


def test_every_question_is_covered_at_every_level(truth) -> None:
    checked = [entry for entry in truth[1].calibrations if entry.n >= 1000]
    assert len(checked) >= 4
    for entry in checked:
        for level, share in entry.coverage.items():
            assert abs(share - level) < 0.02, (entry.question, level, share)
        assert abs(entry.discrete.observed_in_deviation - entry.discrete.expected_in_deviation) < 0.02


def test_every_slice_is_covered(sky, truth) -> None:
    tree, votes = sky.base.tree, sky.votes.counts
    scores = GalaxyScores.of(truth[0], votes, tree, constant_dirichlet(votes, tree), floor=10)
    parts = numeric_slices("redshift", np.asarray(sky.galaxies["redshift"]))
    parts += numeric_slices("votes", votes[:, tree.slices[0]].sum(axis=1))
    found = slice_scores(scores, parts, [question.name for question in tree.questions], fewest=500, resamples=20)
    assert len(found) >= 8
    assert all(abs(score.coverage.mean - 0.9) < 0.03 for score in found)


def test_the_truth_is_at_the_floor_and_nothing_is_left_without_the_noise(truth) -> None:
    total = truth[1].total
    np.testing.assert_allclose(total.mae, total.mae_noise, rtol=0.02)
    assert total.rmse_corrected < 0.015
    assert total.mae < total.mae_constant
