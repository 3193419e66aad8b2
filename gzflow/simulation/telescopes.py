"""Telescopes: how sharply and how deeply each survey sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gzflow.errors import SettingsError
from gzflow.simulation import footprints
from gzflow.simulation.footprints import Footprint


@dataclass(frozen=True)
class Telescope:
    """One camera on one survey.

    Attributes
    ----------
    name
        As `TELESCOPES` knows it.
    bands, microns
        Band names from blue to red, and their effective wavelengths.
    native_pixscale
        Arcsec per detector (or mosaic) pixel.
    psf_fwhm
        Arcsec.
    depth
        AB magnitude of a point source at 5 sigma, per band.
    gain
        Photo-electrons per nanomaggy: how grainy bright parts are.
    redshifts
        Where the survey's galaxies lie in depth.
    footprint
        Where they lie on the sky.
    moffat_beta
        Wings of the point spread function: the smaller, the wider.
    """

    name: str
    bands: tuple[str, ...]
    microns: tuple[float, ...]
    native_pixscale: float
    psf_fwhm: float
    depth: tuple[float, ...]
    gain: float
    redshifts: tuple[float, float]
    footprint: Footprint
    moffat_beta: float = 3.5

    @property
    def noise(self) -> NDArray[np.float64]:
        """(bands,) sky noise in nanomaggies per native pixel.

        A point source's 5 sigma flux is 5 x noise x sqrt(noise-equivalent area), and that area is 4 pi sigma^2 for a
        Gaussian of the same width.
        """
        area = 4 * np.pi * (self.psf_fwhm / 2.355) ** 2 / self.native_pixscale**2
        return 10 ** (-0.4 * (np.asarray(self.depth) - 22.5)) / 5 / np.sqrt(area)


# Typical values of the public imaging: close enough for pictures that volunteers and networks read alike.
_ALL = (
    Telescope(
        name="sdss",
        bands=("g", "r", "i"),
        microns=(0.475, 0.622, 0.763),
        native_pixscale=0.396,
        psf_fwhm=1.35,
        depth=(23.1, 22.7, 22.2),
        gain=700.0,
        redshifts=(0.02, 0.12),
        footprint=footprints.SDSS,
    ),
    Telescope(
        name="decals",
        bands=("g", "r", "z"),
        microns=(0.475, 0.640, 0.917),
        native_pixscale=0.262,
        psf_fwhm=1.2,
        depth=(24.7, 24.0, 23.1),
        gain=4e3,
        redshifts=(0.02, 0.15),
        footprint=footprints.DECALS,
    ),
    Telescope(
        name="hubble",
        bands=("v606", "i775", "z850"),
        microns=(0.592, 0.769, 0.905),
        native_pixscale=0.03,
        psf_fwhm=0.1,
        depth=(28.2, 27.6, 27.3),
        gain=4e4,
        redshifts=(0.2, 1.2),
        footprint=footprints.HUBBLE,
        moffat_beta=2.5,
    ),
    Telescope(
        name="candels",
        bands=("f814w", "f125w", "f160w"),
        microns=(0.805, 1.249, 1.537),
        native_pixscale=0.06,
        psf_fwhm=0.17,
        depth=(27.8, 27.0, 26.8),
        gain=2e4,
        redshifts=(0.6, 2.5),
        footprint=footprints.CANDELS,
        moffat_beta=2.5,
    ),
)
TELESCOPES: dict[str, Telescope] = {telescope.name: telescope for telescope in _ALL}


def telescope(name: str) -> Telescope:
    """The telescope of that name.

    Raises
    ------
    SettingsError
        Listing the names there are.
    """
    if name not in TELESCOPES:
        raise SettingsError(
            f"the simulation has no telescope {name!r}", expected="one of " + ", ".join(TELESCOPES), fix="use a name"
        )
    return TELESCOPES[name]
