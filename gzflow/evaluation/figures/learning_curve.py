"""Fine-tuned against from scratch, by the number of labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from gzflow.evaluation.figures.style import (
    BLUE,
    INK,
    MUTED,
    NORMAL,
    ORANGE,
    SMALL,
    heading,
    label_ends,
    new_figure,
    plain_axes,
)
from gzflow.evaluation.learning_curve import LabelsSaved, LearningCurve, Level


def learning_curve_figure(curve: LearningCurve, *, title: str = "Test loss by number of labels") -> Figure:
    """Both kinds' test NLL against the labels they learnt from, with what a constant Dirichlet scores.

    Small dots are single models, bands the 95 % interval of their mean over seeds. The arrow runs from what all labels
    bring from scratch to where the fine-tune reaches the same.
    """
    figure = new_figure(7.6, 4.2)
    galaxies = f"{curve.n_galaxies:,} test galaxies" if curve.n_galaxies else "test galaxies"
    seeds = max(len(level.values) for level in (*curve.finetuned, *curve.scratch))
    subtitle = (
        f"negative log-likelihood of the votes of {galaxies}, summed over questions, nats a galaxy\n"
        f"dots: single models ({seeds} a point); bands: 95 % interval of their mean over seeds"
    )
    top = heading(figure, title, subtitle)
    axes = plain_axes(figure.add_axes((0.085, 0.125, 0.735, top - 0.145)))
    kinds = (("from scratch", curve.scratch, ORANGE, "s"), ("fine-tuned", curve.finetuned, BLUE, "o"))
    labels = []
    for name, levels, colour, marker in kinds:
        if levels:
            _draw(axes, levels, colour, marker)
            labels.append((levels[-1].mean, f"{name}\n{levels[-1].mean:.2f}", colour))
    if curve.constant is not None:
        axes.axhline(curve.constant, color=MUTED, linewidth=1.4, linestyle=(0, (5, 3)), zorder=1)
        labels.append((curve.constant, f"constant Dirichlet\n{curve.constant:.2f}", MUTED))
    _label_axis(axes, sorted({level.labels for _, levels, _, _ in kinds for level in levels}))
    _limit(axes, curve)
    axes.set_xlabel("training galaxies with votes", fontsize=SMALL)
    axes.set_ylabel("test loss", fontsize=SMALL)
    label_ends(axes, labels)
    if curve.labels_saved is not None:
        _arrow(axes, curve.labels_saved)
    return figure


def _draw(axes: Axes, levels: Sequence[Level], colour: str, marker: str) -> None:
    x = np.array([level.labels for level in levels])
    mean, lower, upper = (np.array([getattr(level, end) for level in levels]) for end in ("mean", "lower", "upper"))
    known = np.isfinite(lower)
    axes.fill_between(x, lower, upper, where=known, color=colour, alpha=0.16, linewidth=0)
    axes.plot(x, mean, color=colour, linewidth=1.8, marker=marker, markersize=5.5, markeredgecolor="white", zorder=3)
    for level in levels:
        if len(level.values) > 1:
            axes.scatter([level.labels] * len(level.values), level.values, s=7, color=colour, alpha=0.55, linewidths=0)


def _label_axis(axes: Axes, ticks: Sequence[int]) -> None:
    """A logarithmic axis with the numbers that were tried as its ticks."""
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xlim(ticks[0] / 1.18, ticks[-1] * 1.18)


def _limit(axes: Axes, curve: LearningCurve) -> None:
    """All means, models and the constant; wide bands of few seeds may be cut."""
    values = np.concatenate([level.values for level in (*curve.finetuned, *curve.scratch)])
    marks = values if curve.constant is None else np.append(values, curve.constant)
    margin = 0.12 * max(float(np.ptp(marks)), 1e-3)
    axes.set_ylim(marks.min() - margin, marks.max() + margin)


def _arrow(axes: Axes, saved: LabelsSaved) -> None:
    """From all labels from scratch to where the fine-tune does as well; the words where falling curves leave room."""
    if np.isfinite(saved.needed) and saved.needed < saved.scratch_labels:
        end, start = (saved.needed, saved.nll), (saved.scratch_labels, saved.nll)
        style = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.2, "shrinkA": 4, "shrinkB": 3}
        axes.annotate("", end, start, arrowprops=style, zorder=4)
    axes.annotate(
        f"fine-tuned: {saved}\nfor what {saved.scratch_labels:,} bring from scratch", (0.02, 0.04),
        xycoords="axes fraction", va="bottom", fontsize=NORMAL, color=INK, linespacing=1.35,
        bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1.2},
    )  # fmt: skip
