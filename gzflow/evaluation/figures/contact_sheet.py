"""Many galaxies on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gzflow.evaluation.figures.style import MUTED, NIGHT, STARLIGHT, as_rgb, heading, new_figure, shortened

CELL = 1.25
ALONE = 2.6
"""Inches of a picture among others, and of one that fills the sheet's width."""


def contact_sheet(
    images: NDArray[np.uint8],
    captions: Sequence[str] = (),
    *,
    title: str = "",
    subtitle: str = "",
    columns: int = 8,
) -> Figure:
    """Galaxies side by side on a dark sheet.

    Parameters
    ----------
    images
        (n, H, W, C) uint8.
    captions
        One a galaxy, or none at all.
    """
    pictures = as_rgb(images)
    columns = max(1, min(columns, len(pictures)))
    rows = max(1, ceil(len(pictures) / columns))
    cell = CELL if columns > 1 else ALONE
    line = 0.2 if captions else 0.0
    top = 0.72 if title and subtitle else 0.5 if title else 0.1
    width, height = columns * cell + 0.2, rows * (cell + line) + top + 0.1
    figure = new_figure(max(width, 4.2) if title else width, height, face=NIGHT)
    if title:
        heading(figure, title, subtitle, colour=STARLIGHT, muted="#8d97aa")
    width = figure.get_figwidth()
    for i, picture in enumerate(pictures):
        x = 0.1 + (i % columns) * cell
        y = height - top - (i // columns) * (cell + line) - cell
        axes = figure.add_axes((x / width, y / height, (cell - 0.06) / width, (cell - 0.06) / height))
        axes.imshow(picture, interpolation="bicubic")
        axes.set_axis_off()
        if captions:
            axes.text(
                0.5, -0.03, shortened(captions[i], 19), transform=axes.transAxes, ha="center", va="top",
                color="#aab3c5", fontsize=6.5,
            )  # fmt: skip
    if not len(pictures):
        figure.text(0.5, 0.4, "no galaxy to show", color=MUTED, ha="center")
    return figure
