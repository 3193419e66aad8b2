"""Who becomes champion, by scores alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gzflow.errors import EvaluationError
from gzflow.evaluation.comparison import TOTAL, change_rows, paired_gains
from gzflow.evaluation.promotion import FEWEST, PromotionDecision, decide
from gzflow.evaluation.selection import usual_floor
from gzflow.evaluation.slices import GalaxyScores

QUESTIONS = ("shape", "arms")


def scores(
    n: int = 200, *, nll: float = 5.0, coverage: tuple[float, float] = (0.9, 0.9), seed: int = 0
) -> GalaxyScores:
    generator = np.random.default_rng(seed)
    inside = np.tile(np.array(coverage), (n, 1))
    return made(nll + generator.normal(0, 1, (n, 2)), inside)


def made(
    nll: NDArray[np.float64], inside: NDArray[np.float64], counted: NDArray[np.bool_] | None = None
) -> GalaxyScores:
    """Scores that agree with the volunteers in half of the galaxies and are off by 0.1."""
    counted = np.ones(inside.shape, bool) if counted is None else counted
    agrees = np.indices(inside.shape)[0] % 2.0
    return GalaxyScores(
        counted, nll, np.zeros(nll.shape), inside=inside, agrees=agrees, error=np.full(inside.shape, 0.1)
    )


def shifted(base: GalaxyScores, by: float, coverage: tuple[float, float] = (0.9, 0.9)) -> GalaxyScores:
    return made(base.nll + by, np.tile(np.array(coverage), (len(base.nll), 1)), base.counted)


def quick(challenger: GalaxyScores, champion: GalaxyScores, **options) -> PromotionDecision:
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
    assert there.rows[0].compared.gain.mean == pytest.approx(-back.rows[0].compared.gain.mean)


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
    decision = quick(made(champion.nll + noise - noise.mean() - 0.01, champion.inside), champion)
    assert decision.rows[0].compared.gain.mean == pytest.approx(0.02)
    assert not decision.promote
    assert decision.reasons[0].startswith("not shown to be better")
    assert quick(shifted(champion, 1), champion).reasons[0].startswith("worse")


def test_questions_count_the_galaxies_with_enough_votes_and_the_total_counts_all():
    champion = scores(100)
    champion.counted[:70, 1] = False
    decision = quick(shifted(champion, -1), champion)
    assert [(row.compared.question, row.compared.n) for row in decision.rows] == [
        (TOTAL, 100),
        ("shape", 100),
        ("arms", 30),
    ]
    assert decision.rows[2].compared.second == pytest.approx((champion.nll - 1)[70:, 1].mean())
    assert decision.rows[0].compared.second == pytest.approx((champion.nll - 1).sum(axis=1).mean())


def test_a_question_without_galaxies_leaves_dashes_and_nulls():
    champion = scores(100)
    champion.counted[:, 1] = False
    decision = quick(shifted(champion, -1), champion)
    assert decision.promote
    assert decision.readable()[2]["NLL"] == decision.readable()[2]["gain (95 %)"] == "–"
    assert decision.table()[2]["NLL"] is None
    assert json.loads(json.dumps(decision.table(), allow_nan=False)) == decision.table()


def test_the_interval_is_the_bootstraps_and_repeats_with_its_seed():
    champion, challenger = scores(150, seed=1), scores(150, seed=2)
    first, again, other = (quick(challenger, champion, seed=seed).rows for seed in (1, 1, 2))
    assert first == again
    assert first[0].compared.gain != other[0].compared.gain
    difference = (champion.nll - challenger.nll).sum(axis=1)
    interval = quick(challenger, champion, resamples=2000).rows[0].compared.gain
    half = 1.96 * difference.std(ddof=1) / np.sqrt(150)
    assert (interval.upper - interval.lower) / 2 == pytest.approx(half, rel=0.1)


@pytest.mark.parametrize(
    ("champion", "message"),
    [
        (scores(99), "shape"),
        (made(np.full((100, 2), np.inf), np.full((100, 2), 0.9)), "NLL that is not finite"),
        (made(np.zeros((100, 3)), np.full((100, 2), 0.9)), "shape"),
        (made(np.zeros((100, 2)), np.full((100, 2), 0.9), np.zeros((100, 2), bool)), "other galaxies count"),
    ],
)
def test_scores_that_do_not_belong_together_are_refused(champion, message):
    with pytest.raises(EvaluationError, match=message):
        quick(scores(100), champion)


def test_paired_gains_say_who_is_better():
    one = scores(80)
    two = made(one.nll - np.array([1.0, -1.0]), one.inside)
    total, shape, arms = paired_gains(one, two, QUESTIONS, resamples=100)
    assert (total.better, shape.better, arms.better) == ("neither", "second", "first")
    assert total.gain.mean == pytest.approx(0, abs=1e-12)


def test_changes_are_paired_and_the_total_weights_galaxies_by_their_questions(sample):
    given = (sample.votes, sample.tree, sample.baseline, 10)
    second = GalaxyScores.of(sample.concentrations, *given)
    flat = np.broadcast_to(sample.baseline, sample.concentrations.shape)
    first = GalaxyScores.of(flat, *given)
    found = paired_gains(first, second, [question.name for question in sample.tree.questions], resamples=300)
    for name, column in (("agreement", "agrees"), ("mae", "error"), ("coverage", "inside")):
        total = getattr(found[0], name)
        wanted = [getattr(one, column)[one.counted].mean() for one in (first, second)]
        assert (total.first, total.second) == pytest.approx(wanted)
        for gain in (found[0], found[1]):
            change = getattr(gain, name)
            assert change.change.mean == pytest.approx(change.second - change.first)
            assert change.change.lower <= change.change.mean <= change.change.upper
    # What knows the galaxies is nearer to the volunteers than a constant.
    assert found[0].mae.change.upper < 0 < found[0].agreement.change.lower
    assert set(change_rows(found)[0]) >= {"agree", "MAE change (95 %)", "90 % holds"}


def test_the_vote_floor_follows_galaxies_with_fewer_votes():
    assert usual_floor(np.full((5, 2), 40), 10) == 10
    assert usual_floor(np.array([[1, 0], [1, 1], [0, 0]]), 10) == 1
    assert usual_floor(np.zeros((3, 2), int), 10) == 10
