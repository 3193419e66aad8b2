"""A picture of one band."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gzflow.cutouts.recipes.planes import observed, picture

_BLACK, _WHITE = math.asinh(-0.5), math.asinh(300.0)
_NANOMAGGIES = np.float32(0.014)
"""Flux per pixel that counts as one, as for the r band of Galaxy Zoo DECaLS."""


def grey(bands: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Three equal channels of (1, H, W) nanomaggies in any one band; (H, W, 3), north up.

    The stretch of `gzflow.cutouts.recipes.decals.gzdecals` for one band: arcsinh of the flux in units of 0.014, mapped
    linearly so that -0.5 is black and 300 is white. Pixels that are NaN count as zero flux.
    """
    stretched = (np.arcsinh(observed(bands) / _NANOMAGGIES) - _BLACK) / (_WHITE - _BLACK)
    return picture(np.broadcast_to(stretched, (3, *stretched.shape[1:])))
