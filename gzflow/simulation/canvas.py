"""A Fourier canvas: smooth light painted as GalSim profiles, patchy light as pixels, one blur for all."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import galsim
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from gzflow.simulation.light import POPULATIONS
from gzflow.simulation.telescopes import Telescope

Image = NDArray[np.float32]


@dataclass
class Canvas:
    """Light of a patch of sky, one layer a stellar population, before the telescope blurs it.

    North is up and east is left. The canvas is periodic: it is painted a quarter wider than the picture, so that what
    leaves on one side does not come in on the other.

    Attributes
    ----------
    telescope
        Sets the finest detail worth painting.
    pixels, pixscale
        Side of the picture, and arcsec per pixel of it.
    """

    telescope: Telescope
    pixels: int
    pixscale: float
    _pixel_layers: Image = field(init=False, repr=False)
    _wave_layers: NDArray[Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._pixel_layers = np.zeros((len(POPULATIONS), self.side, self.side), np.float32)
        self._wave_layers = np.zeros((len(POPULATIONS), self.side, self.side // 2 + 1), np.complex64)

    @cached_property
    def oversampling(self) -> int:
        """Canvas pixels along a picture pixel: at least 2.5 across the PSF, but at most 3 a picture pixel."""
        return int(np.clip(np.ceil(self.pixscale / (self.telescope.psf_fwhm / 2.5)), 1, 3))

    @cached_property
    def side(self) -> int:
        """Side of the canvas in its own pixels, even."""
        wanted = int(1.25 * self.pixels * self.oversampling)
        return 2 * int(scipy.fft.next_fast_len((wanted + 1) // 2, real=True))

    @property
    def scale(self) -> float:
        """Arcsec per canvas pixel."""
        return self.pixscale / self.oversampling

    @cached_property
    def axis(self) -> Image:
        """(side,) canvas pixel centres along one axis, arcsec from the middle of the picture."""
        return ((np.arange(self.side) - self._centre) * self.scale).astype(np.float32)

    @property
    def _centre(self) -> float:
        # The picture's middle lies between or on canvas pixels, so that cropping and binning need no shift.
        return self._margin + (self.pixels * self.oversampling - 1) / 2

    @property
    def _margin(self) -> int:
        return (self.side - self.pixels * self.oversampling) // 2

    @cached_property
    def east(self) -> Image:
        """(side, side) offset to the east of every canvas pixel, arcsec."""
        return np.broadcast_to(-self.axis[None, :], (self.side, self.side))

    @cached_property
    def north(self) -> Image:
        """(side, side) offset to the north, arcsec; row 0 is the northern edge."""
        return np.broadcast_to(-self.axis[:, None], (self.side, self.side))

    def paint(self, population: int, image: Image, flux: float) -> None:
        """Add an image of surface brightness, normalised to `flux`; nothing where it is dark everywhere."""
        total = float(image.sum())
        if total > 0:
            self._pixel_layers[population] += image * np.float32(flux / total)

    def spots(self, populations: NDArray[Any], east: NDArray[Any], north: NDArray[Any], fluxes: NDArray[Any]) -> None:
        """Add point sources; those outside the canvas are left out."""
        column = -east / self.scale + self._centre
        row = -north / self.scale + self._centre
        i, j = np.floor(row).astype(int), np.floor(column).astype(int)
        a, b = row - i, column - j
        for di, dj, weight in ((0, 0, (1 - a) * (1 - b)), (0, 1, (1 - a) * b), (1, 0, a * (1 - b)), (1, 1, a * b)):
            ok = (i + di >= 0) & (i + di < self.side) & (j + dj >= 0) & (j + dj < self.side)
            at = (populations[ok], (i + di)[ok], (j + dj)[ok])
            np.add.at(self._pixel_layers, at, (weight * fluxes)[ok].astype(np.float32))

    def blob(
        self, population: int, flux: float, *, east: float, north: float, radius: float, axis_ratio: float, angle: float
    ) -> None:
        """Add a small exponential disk pixel by pixel: cheaper than `profile`, and coarse like the canvas.

        Parameters
        ----------
        radius
            Half-light radius along the major axis, arcsec.
        angle
            Position angle, degrees.
        """
        column, row = -east / self.scale + self._centre, -north / self.scale + self._centre
        reach = 4 * radius / self.scale + 2
        left, right = max(0, int(column - reach)), min(self.side, int(column + reach) + 1)
        top, bottom = max(0, int(row - reach)), min(self.side, int(row + reach) + 1)
        if left >= right or top >= bottom:
            return
        west = (np.arange(left, right) - column)[None, :] * self.scale
        south = (np.arange(top, bottom) - row)[:, None] * self.scale
        sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
        major, minor = west * sine + south * cosine, (west * cosine - south * sine) / axis_ratio
        # The softening is what a canvas pixel would have averaged over.
        light = np.exp(-1.678 / radius * np.sqrt(major**2 + minor**2 + (0.3 * self.scale) ** 2))
        peak = flux * self.scale**2 / (2 * np.pi * (radius / 1.678) ** 2 * axis_ratio)
        self._pixel_layers[population, top:bottom, left:right] += (peak * light).astype(np.float32)

    def profile(
        self, population: int, profile: galsim.GSObject, flux: float, *, east: float = 0.0, north: float = 0.0
    ) -> None:
        """Add a GalSim profile of unit flux, x to the west and y to the south, `east` and `north` arcsec off."""
        half = self.side // 2
        step = 2 * np.pi / (self.side * self.scale)
        image = galsim.ImageCF(galsim.BoundsI(0, half, -half, self.side - half - 1), scale=step)
        profile.drawKImage(image=image, recenter=False)
        waves = np.roll(image.array, -half, axis=0)
        shift_x = -east / self.scale + self._centre
        shift_y = -north / self.scale + self._centre
        phase_x = np.exp(-2j * np.pi * shift_x * np.arange(half + 1) / self.side)
        phase_y = np.exp(-2j * np.pi * shift_y * scipy.fft.fftfreq(self.side, 1 / self.side) / self.side)
        self._wave_layers[population] += (flux * waves * phase_x[None, :] * phase_y[:, None]).astype(np.complex64)

    def exposed(self, weights: NDArray[Any]) -> Image:
        """(bands, pixels, pixels) nanomaggies per native pixel, row 0 north, without noise.

        Parameters
        ----------
        weights
            (populations, bands) nanomaggies in a band for each unit painted.
        """
        waves = scipy.fft.rfft2(self._pixel_layers) + self._wave_layers
        blurred = np.einsum("pb,pyx->byx", weights.astype(np.float32), waves) * self._blur()
        fine = scipy.fft.irfft2(blurred, s=(self.side, self.side))
        k, margin, n = self.oversampling, self._margin, self.pixels
        picture = fine[:, margin : margin + n * k, margin : margin + n * k]
        if k > 1:
            picture = picture.reshape(len(fine), n, k, n, k).mean(axis=(2, 4))
        return (picture * np.float32((self.telescope.native_pixscale / self.scale) ** 2)).astype(np.float32)

    def _blur(self) -> Image:
        """Transfer function of the telescope: its point spread and its pixels."""
        step = 2 * np.pi / (self.side * self.scale)
        kx = np.arange(self.side // 2 + 1) * step
        ky = scipy.fft.fftfreq(self.side, 1 / self.side) * step
        k = np.hypot(kx[None, :], ky[:, None])
        table_k, table = _point_spread(self.telescope.moffat_beta)
        spread = np.interp(k * self.telescope.psf_fwhm, table_k, table)
        pixel = self.telescope.native_pixscale / (2 * np.pi)
        spread *= np.sinc(kx * pixel)[None, :] * np.sinc(ky * pixel)[:, None]
        return np.asarray(spread, np.float32)


_POINT_SPREADS: dict[float, tuple[NDArray[Any], NDArray[Any]]] = {}


def _point_spread(beta: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Wave numbers (in 1 / FWHM) and transfer of a Moffat profile of unit FWHM."""
    if beta not in _POINT_SPREADS:
        step = 0.05
        image = galsim.ImageCD(galsim.BoundsI(0, 600, 0, 0), scale=step)
        galsim.Moffat(beta, fwhm=1.0).drawKImage(image=image, recenter=False)
        _POINT_SPREADS[beta] = (np.arange(601) * step, image.array[0].real.copy())
    return _POINT_SPREADS[beta]
