"""A galaxy's picture from the pixels of its tile."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from gzflow.cutouts.check import refuse_uniform, refuse_unobserved
from gzflow.cutouts.mosaics.cut import cut_bands, native_side
from gzflow.cutouts.mosaics.tile import Tile
from gzflow.cutouts.rgb import RECIPES, resized
from gzflow.errors import BadPixels, NoCoverage, WrongSize
from gzflow.surveys.mosaic import Form

MAX_SIDE = 8192
"""Largest square in a tile's own pixels; a galaxy that asks for more has a wrong size in its catalog."""
_ENCODING = {
    # Not compressed: noise of a sky shrinks by a quarter only, at ten times the time to write it and eight to read it.
    "png": (
        ".png",
        [cv2.IMWRITE_PNG_COMPRESSION, 0, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE],
    ),
    # Run lengths and Huffman codes alone: a third of the time of zlib's search for repeats, and no larger.
    "png-compressed": (".png", [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]),
    "jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95]),
}


def picture_on_tile(
    images: Sequence[NDArray[np.generic] | None],
    tile: Tile,
    bands: Sequence[str],
    x: float,
    y: float,
    *,
    pixels: int,
    pixscale: float,
    recipe_name: str,
    nanomaggies: Sequence[float] = (),
    what: str,
) -> NDArray[np.uint8]:
    """(pixels, pixels, 3) RGB of the square of ``pixels * pixscale`` arcsec around a position of a tile.

    The square is cut in the tile's own pixels, goes through the recipe, and is resized last, as for FITS of a service.

    Parameters
    ----------
    images
        The tile's bands as `opened` gives them, in the recipe's order.
    x, y
        Column and row of the galaxy.
    nanomaggies
        For each band what one unit of its pixels is; empty leaves them as they are.
    what
        Galaxy id and tile, for messages.

    Raises
    ------
    NoCoverage
        No band has an observed pixel there.
    BadPixels
        A fifth of a band or more is zero, NaN or off the tile, or the band is absent.
    BlankImage, WrongSize
        One colour only; larger than `MAX_SIDE`, or of no size.
    """
    if not pixscale > 0:
        raise WrongSize(
            f"the pixel scale is {pixscale:g} arcsec", where=what, expected="more than 0", fix="correct the catalog"
        )
    side = native_side(pixels, pixscale, tile.scale)
    if side > MAX_SIDE:
        raise WrongSize(
            f"the galaxy asks for {side:,} pixels of the tile ({pixels * pixscale:.0f} arcsec)",
            where=what,
            expected=f"at most {MAX_SIDE:,}",
            fix="correct its pixel scale in the catalog",
        )
    square = cut_bands(images, x, y, side)
    try:
        refuse_unobserved(square, bands, what)
    except BadPixels as error:
        if not (np.isfinite(square) & (square != 0)).any():
            raise NoCoverage("the tile has no observed pixel there", where=what) from error
        raise
    if any(factor != 1 for factor in nanomaggies):
        square *= np.array(nanomaggies, np.float32)[:, None, None]
    picture = resized(RECIPES[recipe_name](square), pixels)
    refuse_uniform(picture, what)
    return picture


def encoded(picture: NDArray[np.uint8], form: Form, *, grey: bool = False) -> tuple[str, bytes]:
    """(file suffix, content) of an RGB picture, or of its first channel where all are the same (`grey`)."""
    suffix, options = _ENCODING[form]
    pixels = picture[..., 0] if grey else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return suffix, cv2.imencode(suffix, pixels, options)[1].tobytes()
