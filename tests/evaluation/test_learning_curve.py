from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gzflow.errors import EvaluationError
from gzflow.evaluation.figures import figure_png, learning_curve_figure
from gzflow.evaluation.learning_curve import CurvePoint, LabelsSaved, LearningCurve, learning_curve

LABELS = (50, 200, 800, 1600)


def exact(scratch: dict[int, float], tuned: dict[int, float]) -> LearningCurve:
    """A curve of one seed and mean NLLs."""
    points = [CurvePoint("scratch", labels, 0, nll) for labels, nll in scratch.items()]
    return learning_curve(points + [CurvePoint("finetuned", labels, 0, nll) for labels, nll in tuned.items()])


def noisy(
    rng: np.random.Generator, *, gain: float, seeds: int = 3, spread: float = 0.3, n: int = 300
) -> list[CurvePoint]:
    """Models whose NLL falls by 1 nat each time labels double; fine-tuned ones are `gain` nats better."""
    galaxies = rng.normal(0, 6, n)
    return [
        CurvePoint(
            kind,
            labels,
            seed,
            40 - better - np.log2(labels) + galaxies + rng.normal(0, 1, n) + rng.normal(0, spread),
        )
        for kind, better in (("scratch", 0.0), ("finetuned", gain))
        for labels in LABELS
        for seed in range(seeds)
    ]


def texts(figure) -> str:
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [text.get_text() for text in (*axes.texts, *axes.get_xticklabels())]
    return "\n".join(found)


def test_labels_needed_lie_log_linearly_between() -> None:
    curve = exact({50: 30.0, 1600: 25.0}, {50: 27.0, 200: 24.0})
    saved = curve.labels_saved
    assert saved is not None
    assert saved.needed == pytest.approx(50 * 4 ** (2 / 3))
    assert (saved.scratch_labels, saved.nll) == (1600, 25.0)
    assert saved.share[0] == pytest.approx(1 - saved.needed / 1600)
    assert np.isnan([saved.lower, saved.upper]).all()  # one seed and no galaxies: nothing varies
    assert str(saved) == "92 % fewer labels"


@given(gain=st.floats(0.1, 4.9))
@settings(max_examples=30)
def test_a_curve_shifted_by_k_nats_saves_what_k_doublings_cost(gain: float) -> None:
    scratch = {labels: 40 - np.log2(labels) for labels in LABELS}
    saved = exact(scratch, {labels: nll - gain for labels, nll in scratch.items()}).labels_saved
    assert saved is not None
    assert saved.needed == pytest.approx(1600 / 2**gain, rel=1e-6)


def test_every_number_of_labels_has_its_own_answer() -> None:
    curve = exact({50: 30.0, 200: 28.0, 1600: 25.0}, {50: 28.0, 200: 26.0, 1600: 24.0})
    assert [saved.scratch_labels for saved in curve.saved] == [50, 200, 1600]
    assert [round(saved.needed) for saved in curve.saved] == [50, 50, 566]
    assert curve.labels_saved is curve.saved[-1]


def test_what_lies_beyond_the_numbers_tried_is_said_so() -> None:
    better = exact({50: 30.0, 1600: 28.0}, {50: 27.0, 1600: 26.0}).labels_saved
    assert str(better) == "≥ 97 % fewer labels"
    never = exact({50: 30.0, 1600: 25.0}, {50: 29.0, 1600: 26.0}).labels_saved
    assert never is not None
    assert np.isinf(never.needed)
    assert str(never) == "< 0 % fewer labels"
    assert str(LabelsSaved(1600, 25.0, 400, 50, 700, (50, 1600))) == "75 % fewer labels (56 to ≥ 97 %)"
    assert str(LabelsSaved(1600, 25.0, 1000, 500, np.inf, (50, 1600))) == "38 % fewer labels (< 0 to 69 %)"
    assert str(LabelsSaved(200, 25.0, 400, 300, 500, (50, 1600))) == "−100 % fewer labels (−150 to −50 %)"


def test_more_labels_never_count_as_worse() -> None:
    """A bad run with many labels does not make the target easier, nor the fine-tune worse than it was before."""
    target = exact({50: 30.0, 800: 25.0, 1600: 27.0}, {50: 28.0, 200: 24.0}).labels_saved
    assert target is not None
    assert target.nll == 25.0
    tuned = exact({1600: 25.0}, {50: 26.0, 200: 24.0, 800: 27.0}).labels_saved
    assert tuned is not None
    assert tuned.needed == pytest.approx(100)


def test_intervals_over_seeds_are_students() -> None:
    points = [CurvePoint("scratch", 50, seed, nll) for seed, nll in enumerate((29.0, 30.0, 31.0))]
    (level,) = learning_curve(points).scratch
    assert level.mean == 30.0
    assert level.upper - level.mean == pytest.approx(4.3027 / np.sqrt(3), rel=1e-4)
    assert level.mean - level.lower == pytest.approx(level.upper - level.mean)
    (single,) = learning_curve(points[:1]).scratch
    assert np.isnan([single.lower, single.upper]).all()


def test_the_interval_covers_the_truth() -> None:
    """In most of many simulated experiments, and it is no wider than it needs to be."""
    rng = np.random.default_rng(0)
    curves = [learning_curve(noisy(rng, gain=2.0, seeds=5), resamples=300) for _ in range(60)]
    saved = [curve.labels_saved for curve in curves]
    covered = np.mean([one.lower <= 400 <= one.upper for one in saved if one is not None])
    assert covered >= 0.85
    assert np.median([one.upper / one.lower for one in saved if one is not None]) < 3


def test_galaxies_are_drawn_together_for_all_models() -> None:
    """What galaxies do to all models alike says nothing about the labels saved."""
    rng = np.random.default_rng(1)
    points = noisy(rng, gain=2.0, spread=0.0)
    apart = rng.normal(0, 6, 300)
    louder = [CurvePoint(p.kind, p.labels, p.seed, p.nll + 20 * apart) for p in points]
    quiet, loud = (learning_curve(each).labels_saved for each in (points, louder))
    assert quiet is not None
    assert loud is not None
    assert loud.upper - loud.lower == pytest.approx(quiet.upper - quiet.lower, rel=0.3)


def test_order_of_the_points_and_repetition_change_nothing() -> None:
    points = noisy(np.random.default_rng(2), gain=1.5)
    one, two = learning_curve(points), learning_curve(points[::-1])
    assert one.saved == two.saved == learning_curve(points).saved
    assert one.n_galaxies == 300


def test_seeds_may_differ_between_numbers_of_labels() -> None:
    points = noisy(np.random.default_rng(3), gain=1.5)
    fewer = [p for p in points if not (p.labels == 1600 and p.seed == 2)]
    saved = learning_curve(fewer).labels_saved
    assert saved is not None
    assert saved.lower < saved.needed < saved.upper


def test_without_a_rival_there_is_a_curve_and_nothing_saved() -> None:
    curve = learning_curve([p for p in noisy(np.random.default_rng(4), gain=1) if p.kind == "finetuned"], constant=33.0)
    assert curve.scratch == ()
    assert curve.labels_saved is None
    assert "constant Dirichlet\n33.00" in texts(learning_curve_figure(curve))


def test_all_problems_are_said_at_once() -> None:
    points = [
        CurvePoint("scratch", 50, 0, np.array([1.0, 2.0])),
        CurvePoint("scratch", 50, 0, np.array([1.0, 2.0, 3.0])),
        CurvePoint("finetuned", 50, 1, np.array([1.0, np.nan])),
    ]
    with pytest.raises(EvaluationError) as caught:
        learning_curve(points)
    assert caught.value.problems == (
        "scratch, 50 labels, seed 0: given twice",
        "finetuned, 50 labels, seed 1: NLLs that are not finite",
        "NLLs of 2, 3 galaxies",
    )
    with pytest.raises(EvaluationError, match="there is none"):
        learning_curve([])


@pytest.mark.parametrize("gain", [-2.0, 2.0, 20.0])
def test_the_picture_says_what_was_tried_and_what_it_saves(gain: float) -> None:
    curve = learning_curve(noisy(np.random.default_rng(5), gain=gain), constant=36.5)
    figure = learning_curve_figure(curve, title="Hubble")
    said = texts(figure)
    assert {"50", "200", "800", "1,600"} <= set(said.splitlines())
    assert str(curve.labels_saved) in said
    assert "300 test galaxies" in said
    assert len(figure_png(figure)) > 10_000


def test_a_picture_of_one_model() -> None:
    assert figure_png(learning_curve_figure(learning_curve([CurvePoint("scratch", 50, 0, 30.0)])))


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_of_the_labels_saved_holds_the_truth_as_often_as_it_says(seeds: int):
    rng = np.random.default_rng(seeds)
    labels, lead, slope = (50, 200, 800, 1600), 1.5, 1.2
    truth = 1600 * np.exp(-lead / slope)
    held = 0
    for _ in range(60):
        points = [
            CurvePoint(kind, n, seed, 45 - slope * np.log(n / 50) - lead * (kind == "finetuned") + rng.normal(0, 0.3))
            for kind in ("finetuned", "scratch")
            for n in labels
            for seed in range(seeds)
        ]
        saved = learning_curve(points, resamples=400).labels_saved
        assert saved is not None
        held += saved.lower <= truth <= saved.upper
    assert held >= 51  # 95 % of 60 are 57; fewer than 51 would be chance once in a thousand


def test_a_single_seed_gives_no_interval():
    rng = np.random.default_rng(1)
    points = [
        CurvePoint(kind, n, 1, rng.normal(40 - np.log(n) - (kind == "finetuned"), 1, 300))
        for kind in ("finetuned", "scratch")
        for n in (50, 400)
    ]
    saved = learning_curve(points, resamples=200).labels_saved
    assert saved is not None
    assert np.isnan([saved.lower, saved.upper]).all()
    assert "(" not in str(saved)
