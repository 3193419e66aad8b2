"""Where the galaxies lie on the sky."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from gzflow.evaluation.figures.style import (
    CYCLE,
    GRID,
    MUTED,
    PAPER,
    SMALL,
    degrees_label,
    heading,
    new_figure,
    plain_axes,
)

PATCH = 60.0
"""Degrees: a survey that fits is drawn enlarged instead of on the whole sky."""


def sky_map(
    ra: NDArray[Any],
    dec: NDArray[Any],
    groups: Sequence[str] | None = None,
    *,
    title: str = "Where the galaxies are",
    most: int | None = None,
) -> Figure:
    """Positions on the sky, east to the left: enlarged when small, the whole sky in Mollweide's projection otherwise.

    Parameters
    ----------
    ra, dec
        (n,) degrees, J2000; NaN where unknown, which the subtitle counts.
    groups
        (n,) a word a galaxy, for instance its split; each gets a colour.
    most
        Most points a group that are drawn, evenly chosen; the numbers shown are those of all. None draws every one.
    """
    ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
    known = np.isfinite(ra) & np.isfinite(dec)
    labels = np.full(len(ra), "") if groups is None else np.asarray(groups)
    missing = int((~known).sum())
    subtitle = f"{int(known.sum()):,} galaxies" + (f"; {missing:,} have no position" if missing else "")
    if not known.any():
        figure = new_figure(6.4, 2.0)
        heading(figure, title, subtitle)
        return figure
    ra, dec, labels = ra[known], dec[known], labels[known]
    centre = _mean_angle(ra)
    offset = (ra - centre + 180) % 360 - 180
    stretch = np.cos(np.radians(np.median(dec)))
    small = np.ptp(offset) * stretch < PATCH and np.ptp(dec) < PATCH and np.abs(dec).max() < 80
    if small:
        return _patch(centre + offset, dec, labels, stretch, title, subtitle, most)
    return _whole_sky(ra, dec, labels, title, subtitle, most)


def _patch(
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    labels: NDArray[np.str_],
    stretch: float,
    title: str,
    subtitle: str,
    most: int | None,
) -> Figure:
    """`ra` without a jump at 360: it may leave 0..360, the tick labels come back."""
    tall = np.ptp(dec) / max(np.ptp(ra) * stretch, 1e-9)
    figure = new_figure(7.6, float(np.clip(6.4 * tall + 1.5, 3.0, 6.4)))
    top = heading(figure, title, subtitle)
    height = figure.get_figheight()
    axes = figure.add_axes((0.09, 0.52 / height, 0.88, top - 0.62 / height))
    plain_axes(axes, grid="both")
    _points(axes.scatter, ra, dec, labels, most)
    axes.set_aspect(1 / stretch, adjustable="datalim")
    axes.invert_xaxis()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value % 360:g}°")
    axes.yaxis.set_major_formatter(lambda value, _: degrees_label(round(value, 9)))
    axes.set_xlabel("right ascension", fontsize=SMALL)
    axes.set_ylabel("declination", fontsize=SMALL)
    _legend(figure, labels)
    return figure


def _whole_sky(
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    labels: NDArray[np.str_],
    title: str,
    subtitle: str,
    most: int | None,
) -> Figure:
    figure = new_figure(8.4, 4.9)
    heading(figure, title, subtitle)
    axes = figure.add_axes((0.03, 0.02, 0.94, 0.84), projection="mollweide")
    axes.set_axisbelow(True)
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines["geo"].set_color("#c3c8d2")
    # The sky is seen from inside: right ascension grows to the left, with 12 h in the middle as surveys show it.
    _points(axes.scatter, np.radians(180 - ra % 360), np.radians(dec), labels, most)
    hours = np.arange(3, 24, 3)
    axes.set_xticks(np.radians(180 - hours * 15.0), [""] * len(hours))
    degrees = np.arange(-60, 61, 30)
    axes.set_yticks(np.radians(degrees), [degrees_label(float(d)) for d in degrees], color=MUTED, fontsize=SMALL)
    for hour in hours:  # not as labels of the axis, which lies below the points
        axes.text(
            np.radians(180 - hour * 15.0), 0, f"{hour}h", color=MUTED, fontsize=SMALL, ha="center", va="center",
            zorder=5, path_effects=[withStroke(linewidth=2.5, foreground=PAPER)],
        )  # fmt: skip
    _legend(figure, labels)
    return figure


def _mean_angle(degrees: NDArray[np.float64]) -> float:
    angles = np.radians(degrees)
    return float(np.degrees(np.arctan2(np.sin(angles).mean(), np.cos(angles).mean()))) % 360


def _points(
    scatter: Any, x: NDArray[np.float64], y: NDArray[np.float64], labels: NDArray[np.str_], most: int | None
) -> None:
    size = float(np.clip(9000 / len(x), 0.6, 14))
    for label, colour in _colours(labels).items():
        rows = np.flatnonzero(labels == label)
        # A dozen galaxies among thousands would be lost at the size of the many.
        own = float(np.clip(9000 / len(rows), size, 8 * size))
        drawn = rows if most is None else rows[:: -(-len(rows) // most)]
        scatter(x[drawn], y[drawn], s=own, c=colour, linewidths=0, alpha=0.75, rasterized=True)


def _colours(labels: NDArray[np.str_]) -> dict[str, str]:
    names, counts = np.unique(labels, return_counts=True)
    # The largest group first, so that small ones are drawn on top of it.
    ordered = [str(names[i]) for i in np.argsort(-counts, kind="stable")]
    return {name: CYCLE[i % len(CYCLE)] for i, name in enumerate(ordered)}


def _legend(figure: Figure, labels: NDArray[np.str_]) -> None:
    colours = _colours(labels)
    if len(colours) < 2:
        return
    width, height = figure.get_figwidth(), figure.get_figheight()
    x = 1 - 0.14 / width
    for name, colour in reversed(colours.items()):
        count = int((labels == name).sum())
        text = figure.text(
            x, 1 - 0.16 / height, f"● {name} {count:,}", color=colour, fontsize=SMALL, ha="right", va="top"
        )
        extent = text.get_window_extent(figure.canvas.get_renderer())
        x -= (extent.width / figure.dpi + 0.14) / width
