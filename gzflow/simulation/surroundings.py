"""What else is in the picture: faint galaxies far behind, and stars of our own."""

from __future__ import annotations

import numpy as np

from gzflow.simulation import chance
from gzflow.simulation.canvas import Canvas

REACH_ARCSEC = 120.0
"""Half side of the square around a galaxy that is furnished; pictures wider than that are empty at the edges."""
GALAXIES_PER_ARCMIN2 = 11.0
"""Brighter than `FAINTEST`: steeply more of the faint ones."""
STARS_PER_ARCMIN2 = 1.6
FAINTEST = 24.5


def paint_surroundings(canvas: Canvas, seed: int) -> None:
    """Paint the sources around a place; the same places and magnitudes for every telescope."""
    rng = chance.generator(seed, "surroundings")
    half = canvas.pixels * canvas.pixscale / 2
    area = (2 * REACH_ARCSEC / 60) ** 2
    n_galaxies, n_stars = rng.poisson(GALAXIES_PER_ARCMIN2 * area), rng.poisson(STARS_PER_ARCMIN2 * area)
    n = n_galaxies + n_stars
    east, north = rng.uniform(-REACH_ARCSEC, REACH_ARCSEC, (2, n))
    # Counts rise by 10^(0.4 m) for faint galaxies and 10^(0.15 m) for stars.
    magnitude = np.empty(n)
    magnitude[:n_galaxies] = FAINTEST + np.log10(1 - rng.random(n_galaxies) * (1 - 10 ** (-0.4 * 6.5))) / 0.4
    magnitude[n_galaxies:] = 23.0 + np.log10(1 - rng.random(n_stars) * (1 - 10 ** (-0.15 * 8))) / 0.15
    population = rng.choice(3, n, p=[0.35, 0.35, 0.3])
    radius = 0.55 * 10 ** (-0.12 * (magnitude - 22)) * rng.lognormal(0, 0.3, n)
    ratio, tilt = rng.uniform(0.3, 1, n), rng.uniform(0, 180, n)
    flux = 10 ** (-0.4 * (magnitude - 22.5))
    seen = (np.abs(east) < half + 3) & (np.abs(north) < half + 3)
    # Sources smaller than a canvas pixel are points to it; the rest are painted as disks.
    point = seen & ((np.arange(n) >= n_galaxies) | (radius < 0.7 * canvas.scale))
    canvas.spots(population[point], east[point], north[point], flux[point])
    for i in np.flatnonzero(seen & ~point):
        shape = {"radius": radius[i], "axis_ratio": ratio[i], "angle": tilt[i]}
        canvas.blob(int(population[i]), flux[i], east=east[i], north=north[i], **shape)
