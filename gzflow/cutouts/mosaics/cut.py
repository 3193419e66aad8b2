"""Squares of pixels around positions, as astropy's ``Cutout2D`` cuts them, without its cost for each galaxy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def cut(image: NDArray[np.generic], x: float, y: float, side: int) -> NDArray[np.float32]:
    """(side, side) float32 around a pixel position, NaN where the square leaves the image.

    The same pixels as ``Cutout2D(image, (x, y), side, mode="partial", fill_value=nan)``: the first row and column are
    ceil(y - side / 2) and ceil(x - side / 2).

    Parameters
    ----------
    image
        (H, W) of any real type and byte order, also memory-mapped: only the square is read.
    x, y
        Column and row; whole numbers are the centres of pixels, the first is 0.
    side
        In pixels, at least 1.
    """
    return cut_bands([image], x, y, side)[0]


def cut_bands(images: Sequence[NDArray[np.generic] | None], x: float, y: float, side: int) -> NDArray[np.float32]:
    """(bands, side, side) float32: the same square of several images on one pixel grid; None is a band that is absent,
    NaN everywhere.
    """  # noqa: D205
    top, left = math.ceil(y - side / 2), math.ceil(x - side / 2)
    pixels = np.empty((len(images), side, side), np.float32)
    for band, image in zip(pixels, images, strict=True):
        if image is None:
            band.fill(np.nan)
            continue
        height, width = image.shape
        rows = slice(max(top, 0), min(top + side, height))
        columns = slice(max(left, 0), min(left + side, width))
        if rows.stop - rows.start == side == columns.stop - columns.start:
            band[:] = image[rows, columns]
            continue
        band.fill(np.nan)
        if rows.start < rows.stop and columns.start < columns.stop:
            band[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = image[rows, columns]
    return pixels


def native_side(pixels: int, pixscale: float, tile_scale: float) -> int:
    """Side in the tile's own pixels of a picture of ``pixels`` at ``pixscale`` arcsec/pixel: its field of view, rounded
    up as Galaxy Zoo DECaLS did, but not by the noise of a division.
    """  # noqa: D205
    return max(1, math.ceil(round(pixels * pixscale / tile_scale, 6)))
