"""Surveys that see the same galaxies and were never cross-matched: a hint, for their splits may part an object."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from gzflow.catalog.objects import reachable
from gzflow.catalog.store import CatalogStore
from gzflow.sky import crossmatch

SAMPLE = 2000
"""Galaxies of the other survey that are looked for: a share of a thousandth is found in six cases of seven."""
RADIUS_ARCSEC = 2.0


def unmatched(store: CatalogStore, survey_name: str, ra: ArrayLike, dec: ArrayLike) -> dict[str, float]:
    """The share of its galaxies that each survey has in common with this one, where no recorded match links the two.

    Estimated from `SAMPLE` galaxies of each; surveys without a common one among them are left out.

    Parameters
    ----------
    ra, dec
        (n,) positions of this survey's galaxies in degrees, NaN where unknown.
    """
    runs = store.crossmatches().select("left_survey", "right_survey").rows()
    known = {survey_name}.union(*reachable(survey_name, runs))
    here = pl.DataFrame({"ra": np.asarray(ra, dtype=np.float64), "dec": np.asarray(dec, dtype=np.float64)})
    here = here.with_columns(id_str=pl.int_range(pl.len()))
    shares = {}
    for name in store.survey_names():
        if name in known:
            continue
        there = store.some_positions(name, SAMPLE)
        if n := len(crossmatch(there, here, RADIUS_ARCSEC)):
            shares[name] = n / len(there)
    return shares
