"""Whether predictions are too narrow, too wide or biased: histograms of their probability integral transforms."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from matplotlib.figure import Figure

from gzflow.evaluation.figures.style import BLUE, INK, MUTED, SMALL, heading, new_figure, plain_axes
from gzflow.evaluation.question_calibration import QuestionCalibration
from gzflow.evaluation.selection import at_least

PER_ROW = 4


def transforms_figure(calibrations: Sequence[QuestionCalibration]) -> Figure:
    """One panel a question: flat is right, a U too narrow, a hump too wide, a slope biased.

    The band is where nine of ten bars of a right model would lie, if answers were independent.
    """
    rows = max(1, ceil(len(calibrations) / PER_ROW))
    columns = min(PER_ROW, max(1, len(calibrations)))
    cell, tall, top, left = 1.9, 1.15, 0.95, 0.35
    width = max(left + columns * (cell + 0.25), 6.6)
    height = top + rows * (tall + 0.5)
    figure = new_figure(width, height)
    floor = calibrations[0].floor if calibrations else 0
    heading(
        figure,
        "Probability integral transforms",
        f"galaxies with {at_least(floor)}; flat: right, ∪: intervals too narrow, ∩: too wide; band: chance (90 %)",
    )
    for i, entry in enumerate(calibrations):
        x, y = left + (i % PER_ROW) * (cell + 0.25), height - top - (i // PER_ROW) * (tall + 0.5) - tall
        axes = plain_axes(figure.add_axes((x / width, y / height, cell / width, tall / height)), grid=None)
        bins, total = len(entry.pit), int(entry.pit.sum())
        axes.set(xlim=(0, 1), xticks=(0, 0.5, 1), yticks=())
        axes.spines["left"].set_visible(False)
        axes.set_xticklabels(["0", "½", "1"])
        axes.set_title(f"{entry.question}  n={entry.n:,}", fontsize=SMALL, color=INK, loc="left", pad=4)
        if not total:
            axes.text(0.5, 0.5, "no galaxy", ha="center", va="center", fontsize=SMALL, color=MUTED)
            continue
        chance = 1.645 * np.sqrt((bins - 1) / total)
        axes.axhspan(1 - chance, 1 + chance, color="#e6e8ee", linewidth=0)
        axes.bar(np.arange(bins) / bins, entry.pit * bins / total, width=1 / bins, align="edge", color=BLUE, alpha=0.75)
        axes.axhline(1, color=INK, linewidth=0.8)
        axes.set_ylim(0, max(2.0, 1.05 * float(entry.pit.max()) * bins / total))
    return figure
