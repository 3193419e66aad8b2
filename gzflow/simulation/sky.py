"""The simulated sky: what a telescope sees at any position."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gzflow.simulation import chance
from gzflow.simulation.galaxies import Galaxies
from gzflow.simulation.render import empty_sky, render
from gzflow.simulation.telescopes import TELESCOPES, Telescope

NEAR_ARCSEC = 30.0
"""A picture whose middle is this close to a galaxy shows that galaxy, at its place; others show faint sources alone."""


class SimulatedSky:
    """Galaxies that any telescope may look at.

    Parameters
    ----------
    galaxies
        What is there.
    camera
        Which telescope the Legacy Survey layers are taken with; SDSS pictures are always SDSS'.
    holes
        Share of galaxies whose surroundings were not observed although they lie in the footprint.
    gaps
        Share of galaxies with a dead strip across the picture, as between detectors.
    """

    def __init__(
        self, galaxies: Galaxies, *, camera: Telescope = TELESCOPES["decals"], holes: float = 0.0, gaps: float = 0.0
    ) -> None:
        self.galaxies = galaxies
        self.camera = camera
        self._vectors = _unit_vectors(galaxies["ra"], galaxies["dec"])
        self._hole = chance.uniforms(galaxies["seed"], "hole") < holes
        self._gap = chance.uniforms(galaxies["seed"], "gap") < gaps

    def nearest(self, ra: float, dec: float) -> int | None:
        """Index of the nearest galaxy within `NEAR_ARCSEC`, or None."""
        apart = np.linalg.norm(self._vectors - _unit_vectors(np.array([ra]), np.array([dec])), axis=1)
        i = int(np.argmin(apart))
        return i if np.degrees(apart[i]) * 3600 <= NEAR_ARCSEC else None

    def covers(self, ra: float, dec: float, telescope: Telescope) -> bool:
        """Whether a telescope observed a position."""
        i = self.nearest(ra, dec)
        return bool(telescope.footprint.contains(ra, dec)) and not (i is not None and self._hole[i])

    def look(
        self, ra: float, dec: float, telescope: Telescope, *, width: int, height: int, pixscale: float
    ) -> NDArray[np.float32]:
        """(bands, height, width) nanomaggies per native pixel, row 0 north; exact zeros where nothing was observed."""
        side = max(width, height)
        i = self.nearest(ra, dec)
        if i is None:
            seed = chance.key("empty", round(ra, 5), round(dec, 5)) >> 2
            image = empty_sky(seed, telescope, side, pixscale)
        else:
            galaxy = self.galaxies[i]
            east = (galaxy.ra - ra + 180) % 360 - 180
            image = render(
                galaxy,
                telescope,
                side,
                pixscale,
                east=3600 * east * float(np.cos(np.radians(dec))),
                north=3600 * (galaxy.dec - dec),
            )
            if self._gap[i]:
                start = int(side * (0.1 + 0.5 * chance.uniforms(galaxy.seed, "gap place").item()))
                image[:, :, start : start + max(1, int(0.28 * side))] = 0
        top, left = (side - height) // 2, (side - width) // 2
        return image[:, top : top + height, left : left + width]


def _unit_vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
