"""Colour pictures as the survey services make them from nanomaggies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gzflow.simulation.telescopes import Telescope

SOFTENING = 20.0
# For each telescope: nanomaggies per native pixel times these, blue to red band, plus an offset that keeps the sky
# from being black. DECaLS as the Legacy
# Survey viewer's dr2_rgb; the others chosen beside real pictures.
_SCALES = {
    "sdss": ((2.3, 1.45, 1.2), 0.008),
    "decals": ((6.0, 3.4, 2.2), 0.03),
    "hubble": ((110.0, 60.0, 48.0), 0.002),
    "candels": ((65.0, 42.0, 36.0), 0.004),
}


def colour_picture(image: NDArray[np.float32], telescope: Telescope) -> NDArray[np.uint8]:
    """(H, W, 3) picture of a (3, H, W) image in nanomaggies per native pixel, bands from blue to red.

    Notes
    -----
    Lupton et al. 2004, PASP 116, 133: one asinh curve for the mean of the bands, so that colours survive.
    """
    scales, offset = _SCALES[telescope.name]
    scaled = image * np.asarray(scales, np.float32)[:, None, None] + np.float32(offset)
    intensity = np.maximum(scaled, 0).mean(axis=0)
    curve = np.arcsinh(SOFTENING * intensity) / np.sqrt(SOFTENING)
    picture = scaled * (curve / np.maximum(intensity, 1e-6))
    return np.asarray(np.clip(picture[::-1].transpose(1, 2, 0), 0, 1) * 255, np.uint8)
