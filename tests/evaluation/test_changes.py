"""What counts as changed between two catalogues."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gzflow.evaluation.changes import Estimates, SliceChange, moves, slice_changes
from gzflow.evaluation.figures import changes_figure, figure_png
from gzflow.evaluation.slices import Slice


def estimates(fraction: list[float], width: float, asked: list[float]) -> Estimates:
    """Of a question with two answers."""
    both = np.stack([fraction, 1 - np.array(fraction)], axis=1)
    return Estimates(both, both - width, both + width, np.array(asked))


def test_an_answer_moved_where_its_intervals_part_and_somebody_is_asked() -> None:
    first = estimates([0.2, 0.2, 0.2, 0.2], 0.1, [1.0, 1.0, 0.4, 0.4])
    second = estimates([0.41, 0.39, 0.9, 0.9], 0.1, [1.0, 1.0, 0.5, 0.4])
    found = moves(first, second, asked=0.5)
    assert found.compared.tolist() == [True, True, True, False]
    assert found.changed.tolist() == [True, False, True, False]
    counted = found.counted("bar", ("yes", "no"))
    assert (counted.n, counted.n_changed, counted.withheld) == (3, 2, 0)
    assert counted.other_first == 1 / 3
    np.testing.assert_allclose(counted.distance, (0.21 + 0.19 + 0.7) / 3)
    assert counted.commonest == "yes"


def test_without_an_interval_nothing_is_said() -> None:
    first = estimates([0.2, 0.2], 0.1, [1.0, 1.0])
    second = estimates([0.9, 0.9], 0.1, [1.0, 1.0])
    second.upper[0] = np.nan
    found = moves(first, second, asked=0.5).counted("bar", ("yes", "no"))
    assert (found.n, found.n_changed, found.withheld) == (1, 1, 1)


@given(arrays(np.float64, (6, 2), elements=st.floats(0, 1)), st.floats(0, 1))
def test_the_order_of_the_catalogues_does_not_matter_and_equal_ones_agree(shares: np.ndarray, asked: float) -> None:
    one, other = (estimates(shares[:, side].tolist(), 0.05, shares[:, side].tolist()) for side in (0, 1))
    there, back = moves(one, other, asked=asked), moves(other, one, asked=asked)
    np.testing.assert_array_equal(there.moved, back.moved)
    np.testing.assert_array_equal(there.compared, back.compared)
    assert not moves(one, one, asked=asked).changed.any()


def test_slices_with_few_galaxies_are_left_out_and_the_rest_is_drawn() -> None:
    compared = np.arange(100) < 60
    changed = np.arange(100) < 6
    parts = [Slice("all", "100", np.ones(100, bool)), Slice("mag", "low", np.arange(100) < 30),
             Slice("mag", "high", np.arange(100) >= 50)]  # fmt: skip
    found = slice_changes("bar", compared, changed, parts)
    assert [(entry.label, entry.n, entry.n_changed) for entry in found] == [("100", 60, 6), ("low", 30, 6)]
    assert figure_png(changes_figure(found, title="a", subtitle="b")).startswith(b"\x89PNG")


def test_labels_of_neighbouring_slices_do_not_overlap() -> None:
    labels = ("pre_active", "active_baseline", "active_priority", "10.51 to 48.94", "589,123 galaxies")
    figure = changes_figure([SliceChange("group", label, "bar", 100, 7) for label in labels], title="b against a")
    figure_png(figure)
    written = [text for text in figure.axes[0].texts if text.get_text().replace("\n", "").replace(" ", "") in
               {label.replace(" ", "") for label in labels}]  # fmt: skip
    edges = [text.get_window_extent() for text in written]
    assert len(edges) == len(labels)
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(edges))
