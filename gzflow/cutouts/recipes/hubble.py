"""The pictures of Galaxy Zoo: Hubble and Galaxy Zoo: CANDELS, after Wherry, Blanton and Hogg's stretch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gzflow.cutouts.recipes.planes import observed, picture


def goods(bands: NDArray[np.float32]) -> NDArray[np.uint8]:
    """RGB of (4, H, W) F435W, F606W, F775W, F850LP, as GOODS at five epochs was shown; (H, W, 3), north up.

    Red is F850LP, green F775W, blue the mean of F435W and F606W, times 1.75 (45, 22, 28), in the drizzled mosaics' own
    counts a second and 0.03 arcsec pixel; nonlinearity 2.5.

    Notes
    -----
    willettk/gzh_jpg, and Willett et al. 2017, MNRAS 464, 4176. A version of that code stretches with 2.0. The soft mask
    by which the final pictures' sky was desaturated is described but not published, so it is left out.
    """
    b, v, i, z = observed(bands)
    return _wherry([z, i, (b + v) / 2], 1.75 * np.array([45, 22, 28]), 2.5)


def two_band(bands: NDArray[np.float32]) -> NDArray[np.uint8]:
    """RGB of (2, H, W) a short-wave and a long-wave Hubble band, as AEGIS, GEMS and shallow GOODS; (H, W, 3), north up.

    Red is the long-wave band, blue the short-wave one, green their mean, times 2 (15, 10, 8), in counts a second per
    pixel; nonlinearity 2.5.

    Notes
    -----
    The channels are published (Willett et al. 2017); the scales stand in willettk/gzh_jpg for F606W with an I band
    or F850LP, and that the final pictures were made with them is unverified.
    """
    short, long = observed(bands)
    return _wherry([long, (short + long) / 2, short], 2.0 * np.array([15, 10, 8]), 2.5)


def candels(bands: NDArray[np.float32], multiplier: float = 2.2) -> NDArray[np.uint8]:
    """RGB of (3, H, W) F814W, F125W, F160W, as Galaxy Zoo: CANDELS showed it; (H, W, 3), north up.

    Red is F160W, green F125W, blue F814W, times `multiplier` (4, 3, 4), in the mosaics' counts a second per pixel;
    nonlinearity 4.0.

    Parameters
    ----------
    multiplier
        The published pictures raised it with a galaxy's flux, from 2.2 on, by a rule that is not published: the least
        value is used for all.

    Notes
    -----
    Simmons et al. 2017, MNRAS 464, 4420.
    """
    blue, green, red = observed(bands)
    return _wherry([red, green, blue], multiplier * np.array([4, 3, 4]), 4.0)


def _wherry(rgb: Sequence[NDArray[np.float32]], scales: NDArray[np.float64], nonlinearity: float) -> NDArray[np.uint8]:
    """Each channel times arcsinh(b S) / (b S), with S the sum of the three; a pixel beyond 1 keeps its colour.

    In 256 levels, by ``nw_scale_rgb``, ``nw_arcsinh_fit``, ``nw_fit_to_box`` and ``nw_float_to_byte`` in this order.
    """
    scaled = np.stack(rgb) * scales[:, None, None].astype(np.float32)
    total = scaled.sum(axis=0)
    total = np.where(total == 0, np.float32(1), total)
    curved = scaled * (np.arcsinh(total * np.float32(nonlinearity)) / (np.float32(nonlinearity) * total))
    return picture(curved / np.maximum(curved.max(axis=0), 1), levels=256.0)
