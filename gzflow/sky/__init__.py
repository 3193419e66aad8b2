"""Positions on the sky: separations, cross-match, cells.

Positions are J2000 degrees. A galaxy whose right ascension or declination is NULL or NaN has no position: it matches
nothing and lies in no cell, and `count_unpositioned` counts it. What does not fit into memory is matched by
`gzflow.sky.hats`.
"""

from __future__ import annotations

from gzflow.sky.healpix import cells
from gzflow.sky.match import How, crossmatch
from gzflow.sky.positions import BOUNDARY_TOLERANCE, count_unpositioned, separations_arcsec, unit_vectors

__all__ = [
    "BOUNDARY_TOLERANCE",
    "How",
    "cells",
    "count_unpositioned",
    "crossmatch",
    "separations_arcsec",
    "unit_vectors",
]
