"""How far apart the pairs of a cross-match lie."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gzflow.evaluation.figures.style import BLUE, MUTED, SMALL, heading, new_figure, plain_axes


def separation_histogram(separations: NDArray[np.float64], radius_arcsec: float, *, title: str = "") -> Figure:
    """A histogram on equal areas of sky: chance pairs fill it evenly, true ones pile up at zero.

    Parameters
    ----------
    separations
        (n,) arcsec, one a pair.
    radius_arcsec
        The largest that was looked for.
    """
    figure = new_figure(6.4, 3.6)
    median = f"median {np.median(separations):.3g} arcsec; " if len(separations) else ""
    subtitle = f"{len(separations):,} pairs within {radius_arcsec:g} arcsec; {median}equal areas of sky a bar"
    top = heading(figure, title or "Separations of the pairs", subtitle)
    axes = plain_axes(figure.add_axes((0.11, 0.16, 0.85, top - 0.2)))
    bins = 40
    axes.hist(np.square(separations), bins=bins, range=(0, radius_arcsec**2), color=BLUE, alpha=0.85)
    if len(separations) > bins:
        axes.set_yscale("log")
    marks = np.linspace(0, radius_arcsec, 6)
    axes.set_xticks(np.square(marks), [f"{mark:.2g}" for mark in marks])
    axes.set_xlabel("separation, arcsec (squared scale)", color=MUTED, fontsize=SMALL)
    axes.set_ylabel("pairs", color=MUTED, fontsize=SMALL)
    return figure
