"""How a run's galaxies differ from those that the model was trained on."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from gzflow.evaluation.drift import Drift
from gzflow.evaluation.figures.style import BLUE, INK, MUTED, ORANGE, SMALL, heading, new_figure, plain_axes


def drift_figure(drift: Drift) -> Figure:
    """The distance of each number's distribution from the training's, beside what is no drift yet."""
    numbers = drift.numbers[::-1]
    height = 1.35 + 0.27 * len(numbers)
    figure = new_figure(7.6, height)
    subtitle = (
        f"{drift.out:.1%} of {drift.n:,} galaxies are out of support ({drift.expected:.0%} of the usual ones are)\n"
        "bar: largest difference between the shares of galaxies below any value; mark: what is no drift yet"
    )
    top = heading(figure, "Drift", subtitle)
    axes = plain_axes(figure.add_axes((0.21, 0.5 / height, 0.74, top - 0.5 / height)), grid="x")
    places = np.arange(len(numbers))
    distances = [number.distance for number in numbers]
    axes.barh(places, distances, height=0.62, color=[ORANGE if number.drifts else BLUE for number in numbers])
    axes.plot([number.allowed for number in numbers], places, "|", color=INK, markersize=11, markeredgewidth=1.6)
    for place, number in zip(places, numbers, strict=True):
        axes.annotate(
            f"{number.distance:.2f}",
            (max(number.distance, number.allowed), place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=MUTED,
        )
    axes.set_yticks(places, [number.name.replace("_", " ") for number in numbers])
    axes.set_xlim(0, 1.08)
    axes.set_xlabel("distance from the training galaxies", fontsize=SMALL)
    return figure
