"""HEALPix cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gzflow.sky.positions import off_sphere, refuse


def cells(ra: ArrayLike, dec: ArrayLike, order: int = 10) -> NDArray[np.int64]:
    """(n,) HEALPix cells, NESTED, of (n,) positions in degrees; -1 where there is no position.

    Parameters
    ----------
    order
        12 x 4^order cells cover the sky; those of order 10 are 3.4 arcmin wide.

    Raises
    ------
    CatalogError
        Positions off the sphere.
    """
    from astropy_healpix.healpy import ang2pix  # loads astropy: a second that other users of positions need not pay

    lon, lat = np.broadcast_arrays(np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64))
    refuse(off_sphere(lon, lat, None), "positions given for sky cells")
    found = np.full(lon.shape, -1, dtype=np.int64)
    known = ~(np.isnan(lon) | np.isnan(lat))
    if known.any():
        found[known] = ang2pix(2**order, lon[known] % 360, lat[known], nest=True, lonlat=True)
    return found
