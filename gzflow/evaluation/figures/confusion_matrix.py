"""A confusion matrix that can be read without asking which axis is which."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from gzflow.evaluation.confusion import COLUMNS, ROWS, ConfusionMatrix
from gzflow.evaluation.figures.style import BLUE, INK, MUTED, NORMAL, PAPER, SMALL, heading, new_figure
from gzflow.evaluation.selection import MEANING, SHORT, at_least

SHADES = LinearSegmentedColormap.from_list("gzflow", ["#f6f8fb", "#a9c4e4", BLUE, "#153a63"])


def confusion_figure(matrix: ConfusionMatrix) -> Figure:
    """Counts with each row's shares as colours; agreement stands beside what the commonest answer alone would score."""
    size = len(matrix.answers)
    longest = max(len(answer) for answer in matrix.answers)
    left, top, bottom = 0.5 + 0.075 * longest, 0.98, 0.48 + 0.042 * longest
    cell = max(0.78, 2.9 / size)
    width, height = left + cell * size + 0.3, top + 0.62 * size + bottom
    figure = new_figure(max(width, 5.2), height)
    heading(figure, matrix.question, _subtitle(matrix))
    width = figure.get_figwidth()
    axes = figure.add_axes((left / width, bottom / height, cell * size / width, 0.62 * size / height))
    rows = matrix.counts.sum(axis=1, keepdims=True)
    shares = np.divide(matrix.counts, rows, out=np.zeros(matrix.counts.shape), where=rows > 0)
    axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(size), matrix.answers, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(size), matrix.answers)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=PAPER, linewidth=2)
    axes.tick_params(which="both", length=0, labelsize=SMALL, colors=INK)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(COLUMNS, fontsize=SMALL, color=MUTED)
    axes.set_ylabel(ROWS, fontsize=SMALL, color=MUTED)
    centred: dict[str, Any] = {"ha": "center", "va": "center"}
    for (i, j), count in np.ndenumerate(matrix.counts):
        share = shares[i, j]
        colour = PAPER if share > 0.45 else INK if count else "#b4bac6"
        weight = "bold" if i == j else "normal"
        axes.text(j, i - 0.1, f"{count:,}", color=colour, fontsize=NORMAL, fontweight=weight, **centred)
        if count:
            axes.text(j, i + 0.24, f"{share:.0%}", color=colour, fontsize=6.5, **centred)
    return figure


def _subtitle(matrix: ConfusionMatrix) -> str:
    if not matrix.n:
        return f"no galaxy has {matrix.floor} votes here ({MEANING[matrix.selection]})"
    return (
        f"{matrix.accuracy:.1%} of {matrix.n:,} galaxies agree; always “{matrix.majority_answer}” would score"
        f" {matrix.majority_accuracy:.1%}\n{SHORT[matrix.selection]}, {at_least(matrix.floor)}"
    )
