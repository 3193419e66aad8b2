"""What must share a split: galaxies of one sky cell, and those of several surveys that are the same object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from gzflow.catalog.objects import linked
from gzflow.catalog.store import CatalogStore
from gzflow.sky import cells


def split_keys(store: CatalogStore, survey_name: str, ids: Sequence[str], ra: ArrayLike, dec: ArrayLike) -> list[str]:
    """A key a galaxy, for `gzflow.catalog.split.assign`: equal keys get equal splits, in every survey.

    The key is the galaxy's sky cell (HEALPix order 10, 3.4 arcmin), or its id where it has no position. Two surveys
    measure one object at positions that differ by some tenths of an arcsec, so of a hundred galaxies about one lies in
    another cell there; where a recorded cross-match says that galaxies are the same object, all of them take its
    canonical cell: the smallest cell number among the members'. That depends on the members' positions alone, not on
    names, on the order of ingests and matches, or on which survey is sharded.

    Parameters
    ----------
    ids, ra, dec
        (n,) galaxies of the survey; degrees, NaN where unknown.
    """
    own = cells(ra, dec)
    canonical = canonical_cells(linked(store, survey_name), survey_name)
    table = pl.DataFrame({"id_str": list(ids), "own": own}, schema={"id_str": pl.String, "own": pl.Int64})
    table = table.join(canonical, on="id_str", how="left", maintain_order="left")
    found = table.select(pl.coalesce("cell", "own"))["cell"].to_list()
    return [str(cell) if cell >= 0 else id_str for cell, id_str in zip(found, ids, strict=True)]


def canonical_cells(members: pl.DataFrame, survey_name: str) -> pl.DataFrame:
    """The canonical cell of this survey's galaxies that are members of objects: (id_str, cell).

    Parameters
    ----------
    members
        ``survey``, ``id_str``, ``object``, and in degrees ``ra``, ``dec``, as `gzflow.catalog.objects.linked` gives.
    """
    ra, dec = (members[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in ("ra", "dec"))
    own = cells(ra, dec)
    placed = members.with_columns(pl.Series("cell", own, dtype=pl.Int64)).filter(pl.col("cell") >= 0)
    chosen = placed.with_columns(pl.col("cell").min().over("object"))
    return chosen.filter(pl.col("survey") == survey_name).select("id_str", "cell")
