from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import dirichlet_multinomial

from gzflow.errors import EvaluationError
from gzflow.evaluation.metrics import evaluate, majority_concentrations


def test_true_concentrations_win_and_are_calibrated(sample) -> None:
    evaluation = evaluate(sample.concentrations, sample.votes, sample.tree, sample.baseline, resamples=200)
    total = evaluation.total
    assert total.nll < total.nll_constant
    assert total.gain.lower > 0
    assert total.mae < total.mae_constant
    assert abs(total.coverage - 0.9) < 0.03
    shape = evaluation.over("half-asked")[0]
    assert shape.accuracy > shape.majority_accuracy
    assert shape.n == 400
    assert (shape.floor, shape.fraction_floor, evaluation.seed, evaluation.resamples) == (10, 20, 42, 200)


def test_the_constant_gains_nothing_over_itself(sample) -> None:
    constant = np.broadcast_to(sample.baseline, sample.concentrations.shape)
    total = evaluate(constant, sample.votes, sample.tree, sample.baseline, resamples=20).total
    np.testing.assert_allclose([total.gain.mean, total.gain.lower, total.gain.upper, total.skill], 0, atol=1e-10)


def test_total_is_the_loss_of_scipy(sample) -> None:
    alpha = sample.concentrations[:, :1]
    evaluation = evaluate(alpha, sample.votes, sample.tree, sample.baseline, resamples=20)
    expected = -sum(
        dirichlet_multinomial.logpmf(votes[part], a[0, part], votes[part].sum())
        for votes, a in zip(sample.votes, alpha, strict=True)
        for part in sample.tree.slices
        if votes[part].sum()
    )
    np.testing.assert_allclose(evaluation.total.nll, expected / len(sample.votes), rtol=1e-9)


def test_selections_are_nested_and_counted(sample) -> None:
    evaluation = evaluate(sample.concentrations, sample.votes, sample.tree, sample.baseline, resamples=20)
    for asked, half, sure in zip(*(evaluation.over(s) for s in ("asked", "half-asked", "confident")), strict=True):
        assert asked.question == half.question == sure.question
        assert asked.n >= half.n >= sure.n
        assert half.n_fractions <= half.n


def test_galaxies_without_votes_count_nowhere(sample) -> None:
    votes = sample.votes.copy()
    votes[:7] = 0
    evaluation = evaluate(sample.concentrations, votes, sample.tree, sample.baseline, resamples=20)
    rest = evaluate(sample.concentrations[7:], votes[7:], sample.tree, sample.baseline, resamples=20)
    assert evaluation.n_unvoted == 7
    assert evaluation.total.n == rest.total.n == 393
    np.testing.assert_allclose(evaluation.total.nll, rest.total.nll)
    assert evaluation.over("asked")[0].accuracy == rest.over("asked")[0].accuracy


def test_one_galaxy_is_scored_and_an_unasked_question_is_nan(sample) -> None:
    votes = np.array([[30, 0, 0, 0, 0, 0, 0, 0]], dtype=np.int32)
    evaluation = evaluate(sample.concentrations[:1], votes, sample.tree, sample.baseline, resamples=20)
    shape, edge = evaluation.over("asked")[:2]
    assert shape.n == 1
    assert edge.n == 0
    assert np.isnan([edge.nll, edge.accuracy, edge.mae, edge.coverage, edge.gain.mean]).all()


def test_majority_keeps_precision_and_bets_on_the_largest(sample) -> None:
    baseline = np.array([2.0, 1.0, 0.5, 1.0, 3.0, 1.0, 1.0, 4.0])
    np.testing.assert_allclose(majority_concentrations(baseline, sample.tree), [2, 0.75, 0.75, 1, 3, 1, 1, 4])


def test_flat_metrics_have_the_same_names_also_for_questions_of_nobody(sample) -> None:
    given = (sample.concentrations, sample.votes, sample.tree, sample.baseline)
    none, all_ = (evaluate(*given, floor=floor, resamples=20).metrics() for floor in (10_000, 1))
    assert none["test/nll"] < none["test/nll-constant"]
    assert none["test/galaxies/arms"] == 0
    assert np.isnan(none["test/nll/arms"])
    assert list(none) == list(all_)
    assert all(np.isfinite(value) for value in all_.values())


def test_all_problems_are_told_at_once(sample) -> None:
    with pytest.raises(EvaluationError) as caught:
        evaluate(sample.concentrations[:5, :, :3], sample.votes[:4] - 100, sample.tree, sample.baseline[:2])
    text = str(caught.value)
    assert "(5, 3, 3), not (n_galaxies, n_samples, 8)" in text
    assert "below 0" in text
    assert "5 galaxies have concentrations but 4 have votes" in text
    assert "baseline has shape (2,)" in text
    assert "to fix:" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c, v: (np.where(np.arange(len(c))[:, None, None] == 3, np.nan, c), v),
            "1 galaxies, the first at index 3",
        ),
        (lambda c, v: (c, v / 2), "votes are float64, not whole numbers"),
        (lambda c, v: (c[:0], v[:0]), "there is no test galaxy"),
    ],
)
def test_bad_values_are_refused(sample, change, message: str) -> None:
    concentrations, votes = change(sample.concentrations, sample.votes)
    with pytest.raises(EvaluationError, match="cannot be compared") as caught:
        evaluate(concentrations, votes, sample.tree, sample.baseline)
    assert message in str(caught.value)
