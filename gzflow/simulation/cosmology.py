"""Distances in a flat universe with 30 % matter and H0 = 70 km/s/Mpc."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

HUBBLE_DISTANCE_MPC = 299_792.458 / 70.0
MATTER = 0.3
MAX_REDSHIFT = 8.0

_Z = np.linspace(0.0, MAX_REDSHIFT, 4001)
_INVERSE_E = 1.0 / np.sqrt(MATTER * (1 + _Z) ** 3 + 1 - MATTER)
_COMOVING = HUBBLE_DISTANCE_MPC * np.concatenate([[0.0], np.cumsum((_INVERSE_E[1:] + _INVERSE_E[:-1]) / 2 * _Z[1])])


def distance_modulus(redshift: ArrayLike) -> NDArray[Any]:
    """Apparent minus absolute magnitude, without any bandpass term."""
    z = np.asarray(redshift, dtype=float)
    return np.asarray(5 * np.log10(np.interp(z, _Z, _COMOVING) * (1 + z) * 1e5))


def kpc_per_arcsec(redshift: ArrayLike) -> NDArray[Any]:
    """Proper size that one arcsec spans."""
    z = np.asarray(redshift, dtype=float)
    return np.asarray(np.interp(z, _Z, _COMOVING) / (1 + z) * 1e3 * np.pi / (180 * 3600))
