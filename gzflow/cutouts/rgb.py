"""The FITS -> RGB recipes by name, the bands that each wants, and the last step to a picture of the wanted size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gzflow.cutouts.recipes.decals import gzdecals
from gzflow.cutouts.recipes.grey import grey
from gzflow.cutouts.recipes.hubble import candels, goods, two_band
from gzflow.cutouts.recipes.lupton import legacy, sdss, stripe82

Recipe = Callable[[NDArray[np.float32]], NDArray[np.uint8]]

RECIPES: dict[str, Recipe] = {
    "gzdecals": gzdecals,
    "legacy": legacy,
    "sdss": sdss,
    "stripe82": stripe82,
    "hubble-vi": two_band,
    "hubble-vz": two_band,
    "goods": goods,
    "candels": candels,
    "grey": grey,
}
"""FITS -> RGB recipes by the name that surveys use."""

RECIPE_BANDS: dict[str, tuple[str, ...]] = {
    "gzdecals": ("g", "r", "z"),
    "legacy": ("g", "r", "z"),
    "sdss": ("g", "r", "i"),
    "stripe82": ("g", "r", "i"),
    "hubble-vi": ("F606W", "F814W"),
    "hubble-vz": ("F606W", "F850LP"),
    "goods": ("F435W", "F606W", "F775W", "F850LP"),
    "candels": ("F814W", "F125W", "F160W"),
    "grey": ("any",),
}
"""Bands that a recipe wants, in the order of its first axis, from blue to red; ``any`` is one of any name."""


def resized(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """(side, side, 3) by Lanczos from (H, W, 3); the array itself where it has that size already."""
    if pixels.shape[:2] == (side, side):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))


__all__ = ["RECIPES", "RECIPE_BANDS", "Recipe", "candels", "goods", "gzdecals", "legacy", "resized", "sdss", "stripe82"]
