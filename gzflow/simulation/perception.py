"""What can be made out of a galaxy in a picture: its features, weakened by blur, noise and inclination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gzflow.simulation.exposure import flaws
from gzflow.simulation.galaxies import ELLIPTICAL, IRREGULAR, LENTICULAR, SPIRAL, Galaxies
from gzflow.simulation.light import band_fluxes
from gzflow.simulation.telescopes import Telescope

Column = NDArray[Any]


@dataclass(frozen=True)
class Perception:
    """(n,) columns; strengths from 0, invisible, to 1, obvious.

    Attributes
    ----------
    galaxies
        What is really there.
    visibility
        Sharpness x depth for structure the size of the galaxy.
    axis_ratio
        Rounded by the blur.
    edge_on, arms, bar, ring, irregular, clumpy, dust_lane, lens
        Features.
    disk
        A disk without any of these.
    companion, disturbance
        Mergers and tides.
    flaw
        Index into `FLAWS` of the exposure.
    """

    galaxies: Galaxies
    visibility: Column
    axis_ratio: Column
    edge_on: Column
    arms: Column
    bar: Column
    ring: Column
    irregular: Column
    clumpy: Column
    dust_lane: Column
    lens: Column
    disk: Column
    companion: Column
    disturbance: Column
    flaw: Column

    @property
    def featured(self) -> Column:
        """Strength of all that makes a galaxy featured: any one feature is enough."""
        parts = (self.edge_on, self.arms, 0.9 * self.bar, self.ring, self.irregular, self.clumpy, self.disk)
        return 1 - np.prod([1 - part for part in (*parts, 0.5 * self.disturbance)], axis=0)


def signal_to_noise(galaxies: Galaxies, telescope: Telescope, blur: ArrayLike) -> Column:
    """(n,) mean signal within the half-light ellipse over the noise, per resolution element of `blur` arcsec."""
    z = galaxies["redshift"]
    old, mixed, young = band_fluxes(telescope.microns, z)
    elliptical, irregular = (galaxies["kind"] == kind for kind in (ELLIPTICAL, IRREGULAR))
    colour = np.where(elliptical[:, None], old, np.where(irregular[:, None], young, mixed))
    flux = 10 ** (-0.4 * (galaxies["magnitude"] - 22.5))[:, None] * colour
    area = np.pi * (galaxies["radius"] ** 2 * galaxies.axis_ratio)[:, None]
    element = np.asarray(blur, dtype=float)
    element = np.broadcast_to(element, z.shape)[:, None]
    per_band = 0.5 * flux / area * element * telescope.native_pixscale / telescope.noise
    return np.sqrt((per_band**2).sum(axis=1))


def perceive(galaxies: Galaxies, telescope: Telescope, pixscale: ArrayLike | None = None) -> Perception:
    """What a careful eye can make out.

    Parameters
    ----------
    pixscale
        Arcsec per pixel of the pictures shown, one number or (n,); None shows native pixels. Coarse pixels blur.
    """
    pixel = np.asarray(telescope.native_pixscale if pixscale is None else pixscale, dtype=float)
    blur = np.hypot(telescope.psf_fwhm, 1.2 * pixel)
    radius, ratio = galaxies["radius"], galaxies.axis_ratio
    snr = signal_to_noise(galaxies, telescope, blur)
    depth = snr / (snr + 3.0)

    def visible(size: float) -> Column:
        """Of structure `size` half-light radii across."""
        return depth / (1 + (blur / (size * radius)) ** 2.5)

    kind = galaxies["kind"]
    disky = kind != ELLIPTICAL
    open_disk = np.clip((ratio - 0.2) / 0.35, 0, 1) * disky
    side_on = 1 / (1 + np.exp(-(galaxies["inclination"] - 77) / 3.0)) * disky * (kind != IRREGULAR)
    # A flocculent pattern is harder to call arms; many arms blur together.
    contrast = galaxies["arm_strength"] * (1 - 0.35 * galaxies["flocculence"])
    contrast = contrast * np.where(galaxies["arms"] > 4, 0.85, 1.0)
    return Perception(
        galaxies=galaxies,
        visibility=visible(2.0),
        axis_ratio=np.sqrt((radius**2 * ratio**2 + blur**2 / 8) / (radius**2 + blur**2 / 8)),
        edge_on=side_on * visible(1.5),
        arms=np.clip(1.35 * contrast * open_disk * visible(1.3), 0, 1),
        bar=np.clip(1.2 * galaxies["bar"] * np.sqrt(galaxies["bar_length"]) * open_disk * visible(1.2), 0, 1),
        ring=galaxies["ring"] * open_disk * visible(1.5),
        irregular=galaxies["irregularity"] * visible(1.5),
        clumpy=np.clip(1.1 * galaxies["clump_strength"] * (galaxies["clumps"] > 0) * visible(1.0), 0, 1),
        dust_lane=galaxies["dust_lane"] * side_on * visible(0.6),
        lens=galaxies["lens"] * visible(1.5),
        disk=0.2 * ((kind == LENTICULAR) | (kind == SPIRAL)) * visible(2.0),
        companion=np.clip(1.4 * galaxies["companion"] * visible(2.0), 0, 1),
        disturbance=galaxies["disturbance"] * visible(2.0),
        flaw=flaws(galaxies["seed"], telescope),
    )
