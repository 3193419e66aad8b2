"""Stretches after Lupton et al. 2004 (PASP 116, 133): one arcsinh curve for the mean of the bands keeps colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gzflow.cutouts.recipes.planes import observed, picture

_SOFTENING = 20.0
_SDSS = {"g": 2.5, "r": 1.5, "i": 1.0}
_LEGACY = {"g": 6.0, "r": 3.4, "z": 2.2}
_STRIPE82 = {"g": 1.0, "r": 1.176, "i": 1.818}
_STRIPE82_Q, _STRIPE82_ALPHA = 3.5, 0.06


def sdss(bands: NDArray[np.float32]) -> NDArray[np.uint8]:
    """RGB of (3, H, W) nanomaggies in g, r, i, as the Legacy Surveys viewer shows SDSS; (H, W, 3), north up.

    With x = flux times (g 2.5, r 1.5, i 1.0) plus 0.02 and I = mean of max(x, 0): x arcsinh(20 I) / (sqrt(20) I), cut
    to 0..1; i, r, g become R, G, B. Where nothing was observed it is grey (22 of 255).

    Notes
    -----
    ``sdss_rgb`` of legacysurvey/imagine. SkyServer's JPEGs follow the same idea with constants that are not published
    with the service, so this is close to what Galaxy Zoo 2's volunteers saw, not the same.
    """
    return _viewer(bands, list(_SDSS.values()), 0.02)


def legacy(bands: NDArray[np.float32]) -> NDArray[np.uint8]:
    """RGB of (3, H, W) nanomaggies in g, r, z, as the Legacy Surveys viewer's JPEGs; (H, W, 3), north up.

    The formula of `sdss` with g 6.0, r 3.4, z 2.2 and 0.03: ``dr2_rgb`` of legacysurvey/imagine, used for the layers
    decals-dr5 to ls-dr9. Where nothing was observed it is grey (32 of 255).
    """
    return _viewer(bands, list(_LEGACY.values()), 0.03)


def stripe82(bands: NDArray[np.float32]) -> NDArray[np.uint8]:
    """RGB of (3, H, W) g, r, i of the SDSS Stripe 82 coadds, as Galaxy Zoo 2 showed them; (H, W, 3), north up.

    With x = flux times (g 1, r 1.176, i 1.818) and I = the mean of x, nothing below 0: x f(I) / I with
    f(I) = arcsinh(0.06 x 3.5 I) / 3.5. Pixels beyond 1 keep their colour: all three are divided by the largest.

    Notes
    -----
    Q, alpha and the factors are those published for the coadds (Willett et al. 2013, MNRAS 435, 2835); that their
    fluxes are the coadded frames' counts, and how bright pixels are limited, is our reading: unverified, for want of a
    published pair of bands and picture.
    """
    scaled = np.maximum(observed(bands) * _column(list(_STRIPE82.values())), 0)
    intensity = scaled.mean(axis=0)
    curve = np.arcsinh(_STRIPE82_ALPHA * _STRIPE82_Q * intensity) / _STRIPE82_Q
    rgb = scaled[::-1] * (curve / np.where(intensity == 0, np.float32(1), intensity))
    return picture(rgb / np.maximum(rgb.max(axis=0), 1))


def _viewer(bands: NDArray[np.float32], scales: Sequence[float], offset: float) -> NDArray[np.uint8]:
    scaled = observed(bands) * _column(scales) + np.float32(offset)
    intensity = np.maximum(scaled, 0).mean(axis=0)
    curve = np.arcsinh(_SOFTENING * intensity) / np.float32(np.sqrt(_SOFTENING))
    return picture(scaled[::-1] * (curve / np.where(intensity == 0, np.float32(1e-6), intensity)))


def _column(values: Sequence[float]) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)[:, None, None]
