"""Predicted against observed vote fractions."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gzflow.evaluation.figures.style import BLUE, INK, MUTED, SMALL, heading, new_figure, plain_axes
from gzflow.evaluation.selection import at_least, selected, vote_fractions
from gzflow.tree import DecisionTree

BINS = 10
FEWEST = 5
"""Values a bin needs to be drawn."""


def reliability(
    fractions: NDArray[Any], votes: NDArray[Any], tree: DecisionTree, *, floor: int = 10, title: str = "Reliability"
) -> Figure:
    """One panel a question: the mean observed fraction in bins of the predicted one, all answers together.

    Points on the diagonal are predictions that come true on average. Bars hold 68 % of the single galaxies: they are
    wide where few volunteers voted, however good the prediction.

    Parameters
    ----------
    fractions
        (n, n_answers) predicted vote fractions.
    votes
        (n, n_answers) counts.
    floor
        The fewest votes for the question.
    """
    chosen = selected(votes, tree, "half-asked", floor)
    observed = vote_fractions(votes, tree)
    subtitle = f"galaxies where at least half of the volunteers were asked, with {at_least(floor)}; bars hold 68 %"
    figure, panels = _panels(len(tree.questions), title, subtitle)
    for q, (question, part) in enumerate(zip(tree.questions, tree.slices, strict=True)):
        rows = chosen[:, q]
        _panel(panels[q], fractions[rows, part].ravel(), observed[rows, part].ravel())
        panels[q].set_title(f"{question.name}  n={int(rows.sum()):,}", fontsize=SMALL, color=INK, loc="left", pad=4)
    return figure


def votes_vs_prediction(
    fractions: NDArray[Any],
    votes: NDArray[Any],
    tree: DecisionTree,
    answers: tuple[str, ...] | None = None,
    *,
    floor: int = 20,
    title: str = "Volunteers and model, galaxy by galaxy",
) -> Figure:
    """One panel an answer: each galaxy's predicted against its observed fraction, with the mean absolute error.

    Parameters
    ----------
    fractions, votes
        (n, n_answers).
    answers
        ``{question}_{answer}`` columns; by default the six whose observed fractions vary most.
    floor
        The fewest votes for the question: with few, the observed fraction itself is noise.
    """
    chosen = selected(votes, tree, "half-asked", floor)[:, tree.question_of_answer]
    observed = np.where(chosen, vote_fractions(votes, tree), np.nan)
    names = answers or _most_varied(observed, tree)
    subtitle = f"galaxies where at least half of the volunteers were asked, with {at_least(floor)}"
    figure, panels = _panels(len(names), title, subtitle, per_row=3, cell=2.3, tall_titles=True)
    for axes, name in zip(panels, names, strict=True):
        column = tree.answers.index(name)
        rows = chosen[:, column]
        x, y = fractions[rows, column], observed[rows, column]
        axes.plot([0, 1], [0, 1], color="#b4bac6", linewidth=0.9)
        axes.scatter(x, y, s=float(np.clip(4000 / max(len(x), 1), 1, 10)), color=BLUE, alpha=0.45, linewidths=0)
        error = f"MAE {np.abs(x - y).mean():.3f}, n={len(x):,}" if len(x) else "no galaxy"
        axes.set_title(f"{name.replace('_', ': ', 1)}\n{error}", fontsize=SMALL, color=INK, loc="left", pad=4)
    return figure


def _panels(
    count: int, title: str, subtitle: str, *, per_row: int = 5, cell: float = 1.65, tall_titles: bool = False
) -> tuple[Figure, list[Axes]]:
    columns = min(per_row, max(count, 1))
    rows = max(1, ceil(count / columns))
    gap_x, gap_y = 0.3, 0.62 if tall_titles else 0.5
    width = max(0.6 + columns * cell + (columns - 1) * gap_x + 0.2, 5.8)  # one panel's subtitle
    top = 1.1 if tall_titles else 0.95
    height = top + rows * (cell + gap_y) + 0.02
    figure = new_figure(width, height)
    heading(figure, title, subtitle)
    panels = []
    for i in range(count):
        x = 0.6 + (i % columns) * (cell + gap_x)
        y = height - top - (i // columns) * (cell + gap_y) - cell
        axes = plain_axes(figure.add_axes((x / width, y / height, cell / width, cell / height)), grid="both")
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        axes.set_xticklabels(["0", "½", "1"])
        axes.set_yticklabels(["0", "½", "1"])
        panels.append(axes)
    middle = (height - top + gap_y) / 2 / height
    names = {"fontsize": SMALL, "color": MUTED}
    figure.text(
        (0.6 + (columns * (cell + gap_x) - gap_x) / 2) / width, 0.1 / height, "predicted fraction", ha="center", **names
    )
    figure.text(0.14 / width, middle, "volunteers' fraction", rotation=90, va="center", **names)
    return figure, panels


def _panel(axes: Axes, predicted: NDArray[np.float64], observed: NDArray[np.float64]) -> None:
    axes.plot([0, 1], [0, 1], color="#b4bac6", linewidth=0.9)
    bins = np.clip((predicted * BINS).astype(int), 0, BINS - 1)
    for index in range(BINS):
        inside = observed[bins == index]
        if len(inside) >= FEWEST:
            x = predicted[bins == index].mean()
            low, high = np.quantile(inside, [0.16, 0.84])
            axes.plot([x, x], [low, high], color=BLUE, linewidth=1.6, alpha=0.35, solid_capstyle="round")
            axes.plot(x, inside.mean(), "o", color=BLUE, markersize=4.2)
    if len(predicted) < FEWEST:
        axes.text(0.95, 0.05, "too few galaxies", ha="right", va="bottom", fontsize=SMALL, color=MUTED)


def _most_varied(observed: NDArray[np.float64], tree: DecisionTree, count: int = 6) -> tuple[str, ...]:
    known = np.isfinite(observed)
    mean = np.where(known, observed, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    spread = np.where(known, (observed - mean) ** 2, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    # One answer a question: with two answers the second panel would only mirror the first.
    best = [part.start + int(spread[part].argmax()) for part in tree.slices]
    ranked = sorted(best, key=lambda column: -spread[column])[:count]
    return tuple(tree.answers[column] for column in sorted(ranked))
