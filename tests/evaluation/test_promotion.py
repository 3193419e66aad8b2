"""Who becomes champion, by scores alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gzflow.errors import EvaluationError
from gzflow.evaluation.comparison import TOTAL, paired_gains
from gzflow.evaluation.promotion import FEWEST, ModelScores, PromotionDecision, decide
from gzflow.evaluation.selection import usual_floor

QUESTIONS = ("shape", "arms")


def scores(n: int = 200, *, nll: float = 5.0, coverage: tuple[float, float] = (0.9, 0.9), seed: int = 0) -> ModelScores:
    generator = np.random.default_rng(seed)
    inside = np.tile(np.array(coverage), (n, 1))
    return ModelScores(nll + generator.normal(0, 1, (n, 2)), inside)


def shifted(base: ModelScores, by: float, coverage: tuple[float, float] = (0.9, 0.9)) -> ModelScores:
    return ModelScores(base.nll + by, np.where(np.isnan(base.inside), np.nan, np.array(coverage)))


def quick(challenger: ModelScores, champion: ModelScores, **options) -> PromotionDecision:
    return decide(challenger, champion, QUESTIONS, resamples=options.pop("resamples", 200), **options)


coverages = st.tuples(st.floats(0.5, 1.0), st.floats(0.5, 1.0))


@given(st.integers(0, 400), coverages, st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_an_equal_model_never_takes_the_place(n, coverage, seed):
    same = scores(n, coverage=coverage, seed=seed)
    assert not quick(same, same).promote


@given(st.integers(FEWEST, 300), st.floats(-2, 2), st.integers(0, 20), st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_of_two_models_at_most_one_beats_the_other(n, by, seed, other):
    one, two = scores(n, seed=seed), shifted(scores(n, seed=other), by)
    there, back = quick(one, two), quick(two, one)
    assert not (there.promote and back.promote)
    assert there.rows[0].gain.mean == pytest.approx(-back.rows[0].gain.mean)


@given(st.integers(FEWEST, 300), st.floats(0.01, 3), coverages)
@settings(max_examples=30, deadline=None)
def test_better_on_every_galaxy_and_no_worse_calibrated_is_promoted(n, by, coverage):
    champion = scores(n, coverage=coverage)
    assert quick(shifted(champion, -by, coverage), champion, calibrated_from=50).promote


@given(st.integers(0, FEWEST - 1))
@settings(max_examples=10, deadline=None)
def test_with_few_galaxies_the_answer_is_no_and_says_why(n):
    champion = scores(n)
    decision = quick(shifted(champion, -3), champion)
    assert not decision.promote
    assert decision.reasons[0] == f"{f'only {n}' if n else 'no'} test galaxies in common; a decision needs {FEWEST}"


@given(coverages, coverages)
@settings(max_examples=60, deadline=None)
def test_miscalibration_blocks_exactly_when_it_is_too_large_and_new(now, before):
    champion = scores(500, coverage=before)
    decision = quick(shifted(champion, -1, now), champion)
    off = [abs(coverage - 0.9) for coverage in now]
    allowed = [max(0.03, abs(coverage - 0.9)) for coverage in before]
    assert decision.promote == all(a <= b + 1e-9 for a, b in zip(off, allowed, strict=True))
    assert decision.rows[0].calibrated is None
    assert [row.calibrated for row in decision.rows[1:]] == [a <= b + 1e-9 for a, b in zip(off, allowed, strict=True)]


def test_the_tolerance_is_inclusive():
    champion = scores(500)
    assert quick(shifted(champion, -1, (0.93, 0.87)), champion).promote
    assert not quick(shifted(champion, -1, (0.9301, 0.87)), champion).promote


def test_below_500_galaxies_calibration_cannot_block_and_the_table_says_so():
    champion = scores(499)
    decision = quick(shifted(champion, -1, (0.5, 0.5)), champion)
    assert decision.promote
    assert decision.reasons[1] == "calibration was not checked: no question has 500 test galaxies"
    assert [row["calibrated"] for row in decision.table()] == ["", "too few", "too few"]


def test_reasons_name_the_question_that_is_off_and_whether_it_was_before():
    champion = scores(600, coverage=(0.8, 0.9))
    decision = quick(shifted(champion, -1, (0.82, 0.70)), champion)
    assert not decision.promote
    assert decision.reasons[0].startswith("better: NLL 7.9")
    assert "shape: its 90 % intervals hold 82.0 %" in decision.reasons[1]
    assert "no worse than before (600 galaxies)" in decision.reasons[1]
    assert "arms: its 90 % intervals hold 70.0 % of the votes, the champion's 90.0 %" in decision.reasons[2]
    assert "and worse than before" in decision.reasons[2]


def test_a_gain_within_the_noise_is_not_enough():
    champion = scores(200)
    noise = np.random.default_rng(3).normal(0, 2, champion.nll.shape)
    decision = quick(ModelScores(champion.nll + noise - noise.mean() - 0.01, champion.inside), champion)
    assert decision.rows[0].gain.mean == pytest.approx(0.02)
    assert not decision.promote
    assert decision.reasons[0].startswith("not shown to be better")
    assert quick(shifted(champion, 1), champion).reasons[0].startswith("worse")


def test_questions_count_the_galaxies_with_enough_votes_and_the_total_counts_all():
    champion = scores(100)
    champion.inside[:70, 1] = np.nan
    decision = quick(shifted(champion, -1), champion)
    assert [(row.question, row.n) for row in decision.rows] == [(TOTAL, 100), ("shape", 100), ("arms", 30)]
    assert decision.rows[2].nll == pytest.approx((champion.nll - 1)[70:, 1].mean())
    assert decision.rows[0].nll == pytest.approx((champion.nll - 1).sum(axis=1).mean())


def test_a_question_without_galaxies_leaves_dashes_and_nulls():
    champion = scores(100)
    champion.inside[:, 1] = np.nan
    decision = quick(shifted(champion, -1), champion)
    assert decision.promote
    assert decision.readable()[2]["NLL"] == decision.readable()[2]["gain (95 %)"] == "–"
    assert decision.table()[2]["NLL"] is None
    assert json.loads(json.dumps(decision.table(), allow_nan=False)) == decision.table()


def test_the_interval_is_the_bootstraps_and_repeats_with_its_seed():
    champion, challenger = scores(150, seed=1), scores(150, seed=2)
    first, again, other = (quick(challenger, champion, seed=seed).rows for seed in (1, 1, 2))
    assert first == again
    assert first[0].gain != other[0].gain
    difference = (champion.nll - challenger.nll).sum(axis=1)
    interval = quick(challenger, champion, resamples=2000).rows[0].gain
    half = 1.96 * difference.std(ddof=1) / np.sqrt(150)
    assert (interval.upper - interval.lower) / 2 == pytest.approx(half, rel=0.1)


@pytest.mark.parametrize(
    ("champion", "message"),
    [
        (scores(99), "not of the same galaxies"),
        (ModelScores(np.full((100, 2), np.inf), np.full((100, 2), 0.9)), "NLL that is not finite"),
        (ModelScores(np.zeros((100, 3)), np.full((100, 2), 0.9)), "shape"),
    ],
)
def test_scores_that_do_not_belong_together_are_refused(champion, message):
    with pytest.raises(EvaluationError, match=message):
        quick(scores(100), champion)


def test_scores_of_predictions_follow_the_house_metrics(sample):
    made = ModelScores.of(sample.concentrations, sample.votes, sample.tree, floor=10)
    asked = np.stack([sample.votes[:, part].sum(axis=1) for part in sample.tree.slices], axis=1)
    np.testing.assert_array_equal(np.isnan(made.inside), asked < 10)
    np.testing.assert_array_equal(made.nll == 0, asked == 0)
    # The sample's votes were drawn from its concentrations.
    assert np.nanmean(made.inside, axis=0) == pytest.approx(0.9, abs=0.04)


def test_paired_gains_say_who_is_better():
    one = np.random.default_rng(0).normal(5, 1, (80, 2))
    two = one - np.array([1.0, -1.0])
    total, shape, arms = paired_gains(one, two, np.ones((80, 2), bool), QUESTIONS, resamples=100)
    assert (total.better, shape.better, arms.better) == ("neither", "second", "first")
    assert total.gain.mean == pytest.approx(0, abs=1e-12)


def test_the_vote_floor_follows_galaxies_with_fewer_votes():
    assert usual_floor(np.full((5, 2), 40), 10) == 10
    assert usual_floor(np.array([[1, 0], [1, 1], [0, 0]]), 10) == 1
    assert usual_floor(np.zeros((3, 2), int), 10) == 10
