"""The galaxies that show a feature best, one row a feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gzflow.evaluation.figures.style import NIGHT, SMALL, STARLIGHT, as_rgb, heading, new_figure

CELL = 1.3


@dataclass(frozen=True)
class GalleryRow:
    """One answer and its best galaxies, best first.

    Attributes
    ----------
    images
        (k, H, W, C) uint8.
    captions
        A short line under each picture.
    """

    question: str
    answer: str
    images: NDArray[np.uint8]
    captions: Sequence[str]


def top_galaxies_figure(
    rows: Sequence[GalleryRow], *, title: str = "Top galaxies", subtitle: str = "", empty: str = "no galaxy qualifies"
) -> Figure:
    """A dark sheet with one row an answer; a row without pictures says `empty`."""
    columns = max([len(row.images) for row in rows] + [1])
    label, line, top = 1.55, 0.22, 0.74 if subtitle else 0.5
    width, height = label + columns * CELL + 0.1, top + len(rows) * (CELL + line) + 0.05
    figure = new_figure(width, height, face=NIGHT)
    heading(figure, title, subtitle, colour=STARLIGHT, muted="#8d97aa")
    for r, row in enumerate(rows):
        y = height - top - r * (CELL + line) - CELL
        middle = (y + CELL / 2) / height
        figure.text(0.14 / width, middle + 0.02 / height, row.answer, color=STARLIGHT, fontsize=9.5, va="bottom")
        figure.text(0.14 / width, middle - 0.04 / height, row.question, color="#8d97aa", fontsize=SMALL, va="top")
        if not len(row.images):
            figure.text((label + 0.1) / width, middle, empty, color="#8d97aa", fontsize=SMALL, va="center")
            continue
        for i, picture in enumerate(as_rgb(row.images)):
            place = ((label + i * CELL) / width, y / height, (CELL - 0.06) / width, (CELL - 0.06) / height)
            axes = figure.add_axes(place)
            axes.imshow(picture, interpolation="bicubic")
            axes.set_axis_off()
            axes.text(
                0.5, -0.03, row.captions[i], transform=axes.transAxes, ha="center", va="top", color="#aab3c5",
                fontsize=6.8,
            )  # fmt: skip
    return figure
