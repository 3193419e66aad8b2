"""From an image of any size to the square array that a shard holds."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from gzflow.recipe import ImageRecipe


def resample(pixels: NDArray[np.uint8], recipe: ImageRecipe) -> NDArray[np.uint8]:
    """The image as `recipe` wants it.

    The centre square is kept and averaged over areas when it shrinks (a galaxy's flux stays where it was), or
    interpolated linearly when it grows.

    Parameters
    ----------
    pixels
        (H, W, 3) RGB.

    Returns
    -------
    (recipe.pixels, recipe.pixels, recipe.n_channels)
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    if side != recipe.pixels:
        method = cv2.INTER_AREA if side > recipe.pixels else cv2.INTER_LINEAR
        square = cv2.resize(square, (recipe.pixels, recipe.pixels), interpolation=method)
    if recipe.channels == "L":
        square = square.mean(axis=2, keepdims=True).round().astype(np.uint8)
    return np.ascontiguousarray(square)
