"""Colour images from calibrated bands: pure functions on arrays, of any size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Recipe = Callable[[NDArray[np.float32]], NDArray[np.uint8]]

_BLACK, _WHITE = np.arcsinh(-0.5), np.arcsinh(300.0)
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
    its neighbours, so it may be applied at any size. Resize afterwards with `resized`.
    """
    units = np.array(list(_NANOMAGGIES.values()), np.float32)
    flux = np.nan_to_num(bands.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    stretched = (np.arcsinh(flux / units[:, None, None]) - _BLACK) / (_WHITE - _BLACK)
    rgb = np.moveaxis(stretched[::-1], 0, -1)
    mean = rgb.mean(axis=-1, keepdims=True)
    mean = np.where(mean == 0, np.float32(1), mean)
    dominance = np.minimum((rgb / mean).max(axis=-1, keepdims=True) / 2.5, 1)
    weight = np.sin(np.pi / 2 * (1 - dominance))
    calm = rgb * weight + mean * (1 - weight) + mean * (1 - weight) ** 2 * rgb
    return np.ascontiguousarray((np.clip(calm, 0, 1) * 255).astype(np.uint8)[::-1])


RECIPES: dict[str, Recipe] = {"gzdecals": gzdecals}
"""FITS -> RGB recipes by the name that surveys use."""

RECIPE_BANDS: dict[str, str] = {"gzdecals": "grz"}
"""Bands that a recipe wants, in the order of its first axis."""


def resized(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """(side, side, 3) by Lanczos from (H, W, 3); the array itself where it has that size already."""
    if pixels.shape[:2] == (side, side):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))
