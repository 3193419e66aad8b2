"""Where two surveys lie on the sky, and where they overlap."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from gzflow.evaluation.figures.sky_map import sky_map

SHOWN = 60_000
"""Most points a group: a page of 8 inches has no room for more."""


def overlap_map(left: pl.DataFrame, right: pl.DataFrame, matches: pl.DataFrame, *, names: tuple[str, str]) -> Figure:
    """Galaxies of the left survey alone, of the right one alone, and of both, on one map of the sky.

    Parameters
    ----------
    left, right
        ``id_str`` and, in degrees, ``ra`` and ``dec``; NULL or NaN where unknown.
    matches
        ``left_id``, ``right_id``; a matched pair is drawn once, at its left position.
    names
        Of the two surveys.
    """
    both = pl.col("id_str").is_in(matches["left_id"].implode())
    groups = [
        left.with_columns(pl.when(both).then(pl.lit("both")).otherwise(pl.lit(f"{names[0]} only")).alias("group")),
        right.filter(~pl.col("id_str").is_in(matches["right_id"].implode())).with_columns(
            pl.lit(f"{names[1]} only").alias("group")
        ),
    ]
    table = pl.concat([frame.select("ra", "dec", "group") for frame in groups])
    ra, dec = (table[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in ("ra", "dec"))
    return sky_map(ra, dec, table["group"].to_list(), title=f"{names[0]} and {names[1]} on the sky", most=SHOWN)
