"""FITS tiles of a simulated sky: noise, and a round exponential galaxy at each given position."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from gzflow.durable import replacing


def tile_wcs(ra: float, dec: float, side: int, scale: float, projection: str = "TAN") -> WCS:
    """A square grid of `side` pixels of `scale` arcsec around a position in degrees (ICRS), north up, east left."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"RA---{projection}", f"DEC--{projection}"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(side + 1) / 2] * 2
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    wcs.wcs.radesys = "ICRS"
    return wcs


def tile_pixels(
    wcs: WCS,
    side: int,
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    *,
    noise: float = 0.01,
    peak: float = 1.0,
    scale_length: float = 4.0,
    seed: int = 42,
) -> NDArray[np.float32]:
    """(side, side) float32: Gaussian noise, and exp(-r / scale_length) times `peak` around each position.

    Parameters
    ----------
    ra, dec
        Degrees; positions off the tile leave what reaches into it.
    noise, peak
        In the file's units, such as nanomaggies per pixel.
    scale_length
        In pixels.
    """
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0, noise, (side, side)).astype(np.float32)
    reach = int(8 * scale_length)
    for x, y in zip(*wcs.all_world2pix(ra, dec, 0), strict=True):
        if not (-reach <= x < side + reach and -reach <= y < side + reach):
            continue
        rows = np.arange(max(0, int(y) - reach), min(side, int(y) + reach + 1))
        columns = np.arange(max(0, int(x) - reach), min(side, int(x) + reach + 1))
        distance = np.hypot(columns[None, :] - x, rows[:, None] - y)
        pixels[np.ix_(rows, columns)] += (peak * np.exp(-distance / scale_length)).astype(np.float32)
    return pixels


def write_tile(path: Path, pixels: NDArray[np.generic], wcs: WCS, *, before: Iterable[fits.PrimaryHDU] = ()) -> Path:
    """Write an image with its WCS: plain, ``.gz``, or tile-compressed where the name ends ``.fz``.

    Parameters
    ----------
    before
        Units in front of the image, for archives that put it into an extension.
    """
    header = wcs.to_header(relax=True)
    units = list(before)
    if path.suffix == ".fz":
        units = [*(units or [fits.PrimaryHDU()]), fits.CompImageHDU(pixels, header, quantize_level=16)]
    else:
        units.append(fits.ImageHDU(pixels, header) if units else fits.PrimaryHDU(pixels, header))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        # astropy compresses by the name's ending, which a temporary name has not.
        named = temporary.with_name(temporary.name + "".join(path.suffixes[-2:]))
        fits.HDUList(units).writeto(named)
        named.replace(temporary)
    return path
