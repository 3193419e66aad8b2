from __future__ import annotations

import numpy as np

from gzflow.evaluation.metrics import evaluate


def test_right_predictions_are_believed_and_sharper_than_a_constant(sample) -> None:
    found = evaluate(sample.concentrations, sample.votes, sample.tree, sample.baseline, resamples=20).calibrations
    for entry in found:
        for level, share in entry.coverage.items():
            np.testing.assert_allclose(share, level, atol=0.05)
        assert entry.pit.sum() == entry.n * len(sample.tree.questions[sample.tree.index(entry.question)].answers)
        assert entry.pit_distance < 0.06
        assert entry.reliability_error < 0.06
        assert entry.sharpness < entry.sharpness_constant


def test_narrow_predictions_are_sharp_and_found_out(sample) -> None:
    narrow = evaluate(sample.concentrations * 30, sample.votes, sample.tree, sample.baseline, resamples=20)
    right = evaluate(sample.concentrations, sample.votes, sample.tree, sample.baseline, resamples=20)
    for bad, good in zip(narrow.calibrations, right.calibrations, strict=True):
        assert bad.sharpness < good.sharpness
        assert bad.coverage[0.9] < good.coverage[0.9] - 0.1
        assert bad.pit[[0, -1]].sum() > 1.5 * good.pit[[0, -1]].sum()


def test_a_question_of_nobody_is_unknown(sample) -> None:
    votes = sample.votes.copy()
    votes[:, sample.tree.slices[2]] = 0
    entry = evaluate(sample.concentrations, votes, sample.tree, sample.baseline, resamples=20).calibrations[2]
    assert entry.n == 0
    assert np.isnan([*entry.coverage.values(), entry.pit_distance, entry.reliability_error, entry.sharpness]).all()
