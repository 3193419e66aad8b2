"""What one model gains over another, question by question."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from gzflow.evaluation.comparison import PairedGain
from gzflow.evaluation.figures.style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    SMALL,
    heading,
    new_figure,
    plain_axes,
    shortened,
)
from gzflow.evaluation.selection import at_least

_COLOURS = {"second": BLUE, "first": ORANGE, "neither": MUTED}


def paired_gains_figure(gains: Sequence[PairedGain], *, names: tuple[str, str], floor: int = 1) -> Figure:
    """One line a question: the mean gain in nats a galaxy with its interval; right of zero the second model is better.

    Parameters
    ----------
    gains
        The total first, then the questions; those without a galaxy are left out.
    names
        Of the first and the second model.
    floor
        The fewest votes with which a galaxy counts for a question.
    """
    shown = [gain for gain in gains if gain.n]
    row, head = 0.27, 0.66
    height = head + row * (len(shown) + 0.6) + 0.62
    figure = new_figure(7.6, height)
    level = f"{gains[0].gain.level:.0%}" if gains else "95%"
    heading(
        figure,
        f"{shortened(names[1], 28)} against {shortened(names[0], 28)}",
        f"gain in NLL on the same test galaxies, mean and {level} paired bootstrap interval;"
        f" questions: galaxies with {at_least(floor)}",
    )
    left, right = 0.36, 0.97
    axes = plain_axes(figure.add_axes((left, 0.62 / height, right - left, row * (len(shown) + 0.6) / height)), grid="x")
    axes.axvline(0, color=INK, linewidth=0.9)
    for y, entry in enumerate(shown):
        colour = _COLOURS[entry.better]
        width = 2.6 if y == 0 else 1.7
        axes.plot([entry.gain.lower, entry.gain.upper], [y, y], color=colour, linewidth=width, solid_capstyle="round")
        axes.plot(entry.gain.mean, y, "o", color=colour, markersize=6.5 if y == 0 else 5)
    axes.set_ylim(len(shown) - 0.2, -0.8)
    axes.set_yticks(
        range(len(shown)), [f"{shortened(entry.question, 34)}  n={entry.n:,}" for entry in shown], color=INK
    )
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    widest = max((abs(end) for entry in shown for end in (entry.gain.lower, entry.gain.upper)), default=1.0)
    axes.set_xlim(-1.08 * max(widest, 1e-6), 1.08 * max(widest, 1e-6))
    axes.set_xlabel("nats a galaxy", fontsize=SMALL, color=MUTED)
    ends = {"y": 0.12 / height, "fontsize": SMALL, "va": "bottom"}
    figure.text(left, s=f"← {shortened(names[0], 22)} is better", color=ORANGE, ha="left", **ends)
    figure.text(right, s=f"{shortened(names[1], 22)} is better →", color=BLUE, ha="right", **ends)
    for label in axes.get_yticklabels()[:1]:
        label.set_fontweight("bold")
    return figure
