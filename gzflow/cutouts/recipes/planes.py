"""What all recipes do before and after their stretch."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def observed(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    """(bands, H, W) float32 in which pixels that are NaN or infinite count as zero flux."""
    flux = bands.astype(np.float32)
    return flux if np.isfinite(flux).all() else np.nan_to_num(flux, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def picture(rgb: NDArray[np.float32], levels: float = 255.0) -> NDArray[np.uint8]:
    """(H, W, 3) of (3, H, W) red, green, blue in 0..1, north up: FITS begins with the southern row.

    Parameters
    ----------
    levels
        1.0 becomes this many of 255, at most 255; values between two levels are cut to the lower.
    """
    cut = rgb * np.float32(levels)
    np.clip(cut, 0, 255, out=cut)
    return np.asarray(cv2.flip(cv2.merge(list(cut.astype(np.uint8))), 0))
