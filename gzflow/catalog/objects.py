"""Which galaxies of several surveys are the same object on the sky: what recorded cross-matches link.

Galaxies that a recorded match links are one object, and so are those linked through others (DECaLS to GZ2, GZ2 to
Hubble). Objects are not stored: they follow from the matches, which stand in the store once.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gzflow.catalog.store import CatalogStore

MEMBERS = {"survey": pl.String, "id_str": pl.String, "object": pl.Int64}


def objects(links: pl.DataFrame) -> pl.DataFrame:
    """Members of objects: (survey, id_str, object), sorted so that an object's members stand together.

    Parameters
    ----------
    links
        One row a match: ``left_survey``, ``left_id``, ``right_survey``, ``right_id``, in any order.

    Returns
    -------
    DataFrame
        One row a galaxy that has a match. Objects are numbered in the order of their first member (survey, then id),
        so that neither the order of the links nor which survey stood on the left matters.
    """
    ends = [
        links.select(pl.col(f"{side}_survey").alias("survey"), pl.col(f"{side}_id").alias("id_str"))
        for side in ("left", "right")
    ]
    galaxies = pl.concat(ends).unique().sort("survey", "id_str").with_row_index("row")
    rows = [end.join(galaxies, on=["survey", "id_str"], how="left", maintain_order="left")["row"] for end in ends]
    n = len(galaxies)
    i, j = (row.to_numpy() for row in rows)
    _, labels = connected_components(coo_array((np.ones(len(i), dtype=np.int8), (i, j)), shape=(n, n)), directed=False)
    # scipy's labels have no promised order.
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    members = galaxies.select("survey", "id_str").with_columns(pl.Series("object", rank[inverse], dtype=pl.Int64))
    return members.sort("object", "survey", "id_str")


def linked(store: CatalogStore, survey_name: str) -> pl.DataFrame:
    """Members of every object that has a galaxy of this survey: (survey, id_str, object, ra, dec).

    Matches of all surveys that are linked to this one, directly or through others, count. Members that the store no
    longer holds are left out.
    """
    runs = store.crossmatches()
    pairs = reachable(survey_name, list(runs.select("left_survey", "right_survey").iter_rows()))
    links = [
        store.crossmatch(left, right).select(
            pl.lit(left).alias("left_survey"), "left_id", pl.lit(right).alias("right_survey"), "right_id"
        )
        for left, right in pairs
    ]
    members = objects(pl.concat(links)) if links else pl.DataFrame(schema=MEMBERS)
    members = members.filter((pl.col("survey") == survey_name).any().over("object")) if len(members) else members
    placed = [
        members.filter(pl.col("survey") == name).join(
            store.galaxies(name, ids=ids).select("id_str", "ra", "dec"), on="id_str", how="inner"
        )
        for (name,), some in members.group_by("survey", maintain_order=True)
        if (ids := some["id_str"].to_list())
    ]
    empty = pl.DataFrame(schema=MEMBERS | {"ra": pl.Float64, "dec": pl.Float64})
    return pl.concat([empty, *placed]).sort("object", "survey", "id_str")


def reachable(survey_name: str, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs of surveys that lead to this one."""
    known, before = {survey_name}, 0
    while len(known) > before:
        before = len(known)
        known |= {name for pair in pairs if known.intersection(pair) for name in pair}
    return [pair for pair in pairs if known.intersection(pair)]
