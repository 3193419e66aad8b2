"""Where two catalogues differ: questions against parts of the sample."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import groupby

from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gzflow.evaluation.changes import SliceChange
from gzflow.evaluation.figures.style import GRID, INK, MUTED, ORANGE, PAPER, SMALL, heading, new_figure, shortened

VARIABLES = 4
"""Most variables beside all galaxies: more columns cannot be read."""
_SHADES = LinearSegmentedColormap.from_list("changes", [PAPER, ORANGE])
_CELL, _ROW, _GAP = 0.62, 0.26, 0.16
"""Inches: width and height of a cell, and the space between variables."""


def changes_figure(changes: Sequence[SliceChange], *, title: str, subtitle: str = "") -> Figure:
    """A row a question, a column a slice: the share of galaxies with an answer that moved beyond its interval.

    Parameters
    ----------
    changes
        Questions and slices in the order of the picture; a question that a slice does not have stays empty.
    """
    variables = list(dict.fromkeys(entry.variable for entry in changes))[: 1 + VARIABLES]
    shown = [entry for entry in changes if entry.variable in variables]
    questions = list(dict.fromkeys(entry.question for entry in shown))
    places = list(dict.fromkeys((entry.variable, entry.label) for entry in shown))
    left, top, bottom = 2.55, 1.45, 0.2
    x = {place: left + i * _CELL + variables.index(place[0]) * _GAP for i, place in enumerate(places)}
    width = max(6.0, max(x.values()) + _CELL + 0.3)
    height = top + len(questions) * _ROW + bottom
    figure = new_figure(width, height)
    heading(figure, title, subtitle)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    y = {question: top + row * _ROW for row, question in enumerate(questions)}
    highest = max((entry.share for entry in shown), default=0.0) or 1.0
    for question, position in y.items():
        axes.text(
            left - 0.1, position + _ROW / 2, shortened(question, 34), ha="right", va="center", fontsize=SMALL, color=INK
        )
    for entry in shown:
        corner = x[entry.variable, entry.label], y[entry.question]
        colour = _SHADES(0.85 * entry.share / highest)
        axes.add_patch(Rectangle(corner, _CELL, _ROW, facecolor=colour, edgecolor=GRID, linewidth=0.6))
        axes.text(
            corner[0] + _CELL / 2, corner[1] + _ROW / 2, f"{100 * entry.share:.1f}", ha="center", va="center",
            fontsize=SMALL, color=INK,
        )  # fmt: skip
    for variable, group in groupby(places, key=lambda place: place[0]):
        columns = list(group)
        most = int(13 * len(columns)) if len(columns) > 1 else 12
        axes.text(
            x[columns[0]], top - 0.45, shortened(variable, most), fontsize=SMALL, color=INK, fontweight="bold",
            va="bottom",
        )  # fmt: skip
        for place in columns:
            axes.text(
                x[place] + _CELL / 2, top - 0.07, _in_lines(shortened(place[1], 30)), ha="center", va="bottom",
                fontsize=SMALL - 1.5, color=MUTED, linespacing=1.1,
            )  # fmt: skip
    return figure


def _in_lines(label: str) -> str:
    """A slice's label in lines as short as a column is narrow; broken behind `_` too, which words of a catalog have."""
    parts = label.replace(" to ", "\nto ").replace("_", "_ ").splitlines()
    return "\n".join(line for part in parts for line in textwrap.wrap(part, 11)).replace("_ ", "_")
