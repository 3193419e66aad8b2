from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image

from gzflow.evaluation.bootstrap import Interval
from gzflow.evaluation.comparison import PairedChange, PairedGain
from gzflow.evaluation.confusion import ConfusionMatrix, confusion_matrices
from gzflow.evaluation.figures import (
    GalleryRow,
    confusion_figure,
    contact_sheet,
    figure_jpeg,
    figure_png,
    paired_gains_figure,
    reliability,
    sky_map,
    top_galaxies_figure,
    training_curves,
    votes_vs_prediction,
)
from gzflow.posterior import fractions
from gzflow.tree import DecisionTree, Question

IMAGES = np.random.default_rng(0).integers(0, 255, (5, 16, 16, 3), dtype=np.uint8)


def size_of(content: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(content)) as image:
        image.load()
        return image.size


def texts(figure) -> str:
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [text.get_text() for text in axes.texts]
        found += [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()]
    return "\n".join(found)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_contact_sheets_of_any_size(count: int, channels: int) -> None:
    figure = contact_sheet(IMAGES[:count, ..., :channels], [f"J{i}" for i in range(count)], title="few", columns=3)
    width, height = size_of(figure_jpeg(figure))
    assert width > 500
    assert height > 100


def test_long_names_are_shortened_in_the_middle() -> None:
    assert "J12345678…90123456z" in texts(contact_sheet(IMAGES[:1], ["J1234567890123456789890123456z"]))


def test_a_small_survey_is_enlarged_even_across_zero_hours() -> None:
    figure = sky_map(np.array([359.0, 0.5, 2.0]), np.array([-1.0, 0.0, 1.0]), ["train", "test", "train"])
    (axes,) = figure.axes
    assert axes.name == "rectilinear"
    left, right = axes.get_xlim()
    assert 2.0 < left - right < 12  # east is to the left, and the jump at 360 did not stretch the axis
    assert "● train 2" in texts(figure)


def test_a_large_survey_is_on_the_whole_sky_and_unknown_positions_are_counted() -> None:
    generator = np.random.default_rng(1)
    ra = generator.uniform(0, 360, 50)
    ra[:4] = np.nan
    figure = sky_map(ra, generator.uniform(-60, 60, 50))
    assert figure.axes[0].name == "mollweide"
    assert "46 galaxies; 4 have no position" in texts(figure)
    (axes,) = figure.axes
    points = max(drawn.get_zorder() for drawn in axes.collections)
    assert {text.get_text() for text in axes.texts if text.get_zorder() > points} >= {"3h", "12h", "21h"}
    assert size_of(figure_png(figure))


def test_no_position_at_all() -> None:
    assert "0 galaxies; 2 have no position" in texts(sky_map(np.full(2, np.nan), np.full(2, np.nan)))


@pytest.mark.parametrize("epochs", [0, 1, 12])
def test_training_curves_mark_best_epoch_and_baseline(epochs: int) -> None:
    history = [{"epoch": e, "train/loss": 9 - e / 9, "val/loss": 10 - e / 10} for e in range(epochs)]
    figure = training_curves(history, baseline=9.5, best_epoch=epochs - 1)
    assert size_of(figure_png(figure))
    assert "constant Dirichlet\n9.50" in texts(figure)
    if epochs:
        assert f"best epoch {epochs}" in texts(figure)
    again = training_curves(history, baseline=9.5, best_epoch=epochs - 1, refit=7.25)
    assert ("then the head alone: 7.25" in texts(again)) == bool(epochs)
    if epochs:
        assert again.axes[0].get_ylim()[0] < 7.25


def test_a_first_epoch_far_off_does_not_flatten_the_rest() -> None:
    history = [{"epoch": e, "train/loss": 5.0, "val/loss": 1e5 if e == 1 else 6.0} for e in range(1, 30)]
    (axes,) = training_curves(history, baseline=7.0).axes
    assert axes.get_ylim()[1] < 10


def test_confusion_names_axes_baseline_and_sample(sample) -> None:
    matrix = confusion_matrices(fractions(sample.concentrations, sample.tree), sample.votes, sample.tree)[0]
    figure = confusion_figure(matrix)
    said = texts(figure)
    assert "volunteers' answer" in figure.axes[0].get_ylabel()
    assert "model's answer" in figure.axes[0].get_xlabel()
    assert f"{matrix.accuracy:.1%} of {matrix.n:,} galaxies agree" in said
    assert f"would score {matrix.majority_accuracy:.1%}" in said
    assert "10 votes or more" in said
    assert size_of(figure_png(figure))


@pytest.mark.parametrize("drawn", [reliability, votes_vs_prediction])
def test_a_survey_of_one_question_has_room_for_what_stands_above_its_panel(drawn) -> None:
    tree = DecisionTree((Question("ring", ("yes", "no")),))
    figure = drawn(np.full((30, 2), 0.5), np.full((30, 2), 10), tree, floor=10)
    width = figure.get_figwidth() * figure.dpi
    assert max(text.get_window_extent().x1 for text in figure.texts) < width


def test_long_names_of_two_runs_do_not_run_into_each_other() -> None:
    scores = Interval(0.1, 0.0, 0.2)
    same = PairedChange(0.5, 0.5, scores)
    gain = PairedGain("bar", 30, 5.0, 4.9, scores, same, same, same)
    figure = paired_gains_figure([gain], names=(40 * "first", 40 * "second"))
    left, right = (text.get_window_extent() for text in figure.texts[-2:])
    assert left.x1 < right.x0


def test_an_empty_confusion_says_so() -> None:
    matrix = ConfusionMatrix("bar", ("yes", "no"), np.zeros((2, 2), dtype=np.int64), "asked", 10)
    assert "no galaxy has 10 votes" in texts(confusion_figure(matrix))


def test_top_galaxies_with_an_empty_row() -> None:
    rows = [
        GalleryRow("bar", "strong", IMAGES[:3], ["0.9", "0.8", "0.7"]),
        GalleryRow("merging", "merger", IMAGES[:0], []),
    ]
    figure = top_galaxies_figure(rows)
    assert "no galaxy qualifies" in texts(figure)
    assert size_of(figure_jpeg(figure))


def test_vote_fractions_panels(sample) -> None:
    predicted = fractions(sample.concentrations, sample.tree)
    assert len(reliability(predicted, sample.votes, sample.tree).axes) == 3
    figure = votes_vs_prediction(predicted, sample.votes, sample.tree, ("shape_smooth", "arms_2"))
    assert "shape: smooth\nMAE 0." in texts(figure)
    assert "no galaxy" in texts(votes_vs_prediction(predicted, sample.votes, sample.tree, floor=10_000))
    assert "too few galaxies" in texts(reliability(predicted, sample.votes, sample.tree, floor=10_000))


def test_figures_are_drawn_in_threads_without_pyplot(sample) -> None:
    matrix = confusion_matrices(fractions(sample.concentrations, sample.tree), sample.votes, sample.tree)[0]
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: figure_png(confusion_figure(matrix)), range(8)))
    assert len(set(drawn)) == 1
    assert pyplot.get_fignums() == []
