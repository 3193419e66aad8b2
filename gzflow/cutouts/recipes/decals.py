"""The pictures of Galaxy Zoo DECaLS."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gzflow.cutouts.recipes.planes import observed, picture

# Plain floats: numpy would carry the whole image through float64 for the sake of a float64 scalar.
_BLACK, _WHITE = math.asinh(-0.5), math.asinh(300.0)
_NANOMAGGIES = {"g": 0.008, "r": 0.014, "z": 0.019}
"""Flux per pixel that the recipe counts as one, for each band."""


def gzdecals(bands: NDArray[np.float32]) -> NDArray[np.uint8]:
    """RGB of (3, H, W) nanomaggies in g, r, z, as the Galaxy Zoo DECaLS volunteers saw it; (H, W, 3), north up.

    Each band is divided by its unit (g 0.008, r 0.014, z 0.019), passed through arcsinh and mapped linearly so that
    -0.5 is black and 300 is white; z, r, g become R, G, B. Pixels dominated by one colour are then pulled towards
    their mean a by w = sin(pi/2 (1 - min(max(rgb / a) / 2.5, 1))): rgb w + a (1 - w) + a (1 - w)^2 rgb, which
    takes the coloured speckle out of the sky. Pixels that are NaN count as zero flux. The rows are turned over, since
    FITS begins at the bottom.

    Notes
    -----
    The recipe of Walmsley et al. 2022 (MNRAS 509, 3966), as zooniverse/decals implements it; one pixel knows nothing of
    its neighbours, so it may be applied at any size. Resize afterwards with `gzflow.cutouts.rgb.resized`.
    """
    # In place: each array of its own costs as much in fresh memory as in arithmetic.
    rgb = observed(bands)[::-1]
    rgb /= np.array(list(_NANOMAGGIES.values())[::-1], np.float32)[:, None, None]
    np.arcsinh(rgb, out=rgb)
    rgb -= _BLACK
    rgb /= _WHITE - _BLACK
    mean = rgb.mean(axis=0)
    mean[mean == 0] = 1
    dominance = np.minimum((rgb / mean).max(axis=0) / 2.5, 1)
    weight = np.sin(np.pi / 2 * (1 - dominance))
    drawn = rgb * weight
    drawn += mean * (1 - weight)
    rgb *= mean * (1 - weight) ** 2
    drawn += rgb
    return picture(drawn)
