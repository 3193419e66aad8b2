"""Positions in degrees: unit vectors, separations, and the columns of a frame that hold them."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from gzflow.errors import CatalogError, LossyIds, MissingColumns

BOUNDARY_TOLERANCE = 4 * float(np.spacing(360.0)) * 3600
"""8e-10 arcsec, 4 ulp of a right ascension: two positions written exactly a radius apart may come out this much
farther, for degrees are rounded to float64."""
ARCSEC = np.pi / 180 / 3600
"""An arcsec in radians."""
_SHOWN = 5


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
    """(n, 3) unit vectors of (n,) positions in degrees; NaN where there is no position."""
    alpha, delta = (np.radians(np.asarray(a, dtype=np.float64)) for a in (ra, dec))
    across = _cos_degrees(dec)
    return np.stack([across * np.cos(alpha), across * np.sin(alpha), np.sin(delta)], axis=-1)


def separations_arcsec(ra1: ArrayLike, dec1: ArrayLike, ra2: ArrayLike, dec2: ArrayLike) -> NDArray[np.float64]:
    """Great-circle separations in arcsec of positions in degrees, element by element; symmetric to the last bit.

    Notes
    -----
    Half-angle (haversine) form on differences of degrees, good to a few ulp from 0 to 180 degrees and at the poles:
    hav = sin^2(ddec/2) + cos(dec1) cos(dec2) sin^2(dra/2), with the complementary sum for 1 - hav; both have
    non-negative terms alone, so nothing cancels, as it does in the arccos form below an arcsecond.
    """
    ra1, dec1, ra2, dec2 = (np.asarray(a, dtype=np.float64) for a in (ra1, dec1, ra2, dec2))
    turn = np.abs(ra1 - ra2) % 360
    half_ra = np.radians(np.minimum(turn, 360 - turn)) / 2
    half_dec = np.radians(np.abs(dec1 - dec2)) / 2
    # np.square, not ** 2: the latter calls pow for a single number, and would differ in the last bit from an array.
    across = np.square(np.sin(half_ra))
    near = np.square(np.sin(half_dec)) + (_cos_degrees(dec1) * _cos_degrees(dec2)) * across
    far = np.square(np.cos(half_dec) * np.cos(half_ra)) + np.square(np.sin(np.radians(dec1 + dec2) / 2)) * across
    return 2 * np.arctan2(np.sqrt(near), np.sqrt(far)) / ARCSEC


def count_unpositioned(frame: pl.DataFrame) -> int:
    """Number of rows without a position, which can match nothing.

    Raises
    ------
    MissingColumns, CatalogError
        As `crossmatch`.
    """
    return int(np.isnan(degrees(frame, "the frame")).any(axis=0).sum())


def text_ids(frame: pl.DataFrame, name: str) -> pl.Series:
    """The ids of a frame as text.

    Raises
    ------
    LossyIds, CatalogError
        Ids that went through a float, are NULL, or are neither text nor whole numbers.
    """
    ids = frame["id_str"]
    if ids.dtype.is_float():
        raise LossyIds(
            f"the ids of the {name} frame are {ids.dtype}",
            where="column id_str",
            expected="text: a float keeps 16 digits and survey ids have up to 19",
            fix='read the id column as text from the first, as polars does with schema_overrides={"...": pl.String}',
        )
    text = isinstance(ids.dtype, (pl.String, pl.Categorical, pl.Enum)) or ids.dtype.is_integer()
    if ids.null_count() or not (text or ids.is_empty()):
        raise CatalogError(
            f"the ids of the {name} frame are no text",
            where=f"column id_str: {ids.dtype}, {ids.null_count()} of {len(ids)} NULL",
            expected="one text a galaxy",
            fix="cast the column to text and drop rows without id",
        )
    return ids.cast(pl.String)


def degrees(frame: pl.DataFrame, where: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) right ascension and declination, NaN where either is unknown."""
    if missing := [column for column in ("ra", "dec") if column not in frame.columns]:
        raise missing_columns(missing, frame, where)
    refuse([f"{name} is {frame[name].dtype}" for name in ("ra", "dec") if not _is_numeric(frame[name])], where)
    ra, dec = (frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in ("ra", "dec"))
    refuse(off_sphere(ra, dec, frame.get_column("id_str", default=None)), where)
    return ra, dec


def off_sphere(ra: NDArray[np.float64], dec: NDArray[np.float64], ids: pl.Series | None) -> list[str]:
    """What is wrong with (n,) positions in degrees, a sentence a coordinate; NaN is nothing wrong."""
    problems = []
    for name, values, low, high in (("ra", ra, -180, 360), ("dec", dec, -90, 90)):
        rows = np.flatnonzero((values < low) | (values > high)).tolist()
        shown = [f"row {row}{f' (id {ids[row]})' if ids is not None else ''}: {values[row]:g}" for row in rows[:_SHOWN]]
        more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        if rows:
            problems.append(f"{name} outside [{low}, {high}]: {', '.join(shown)}{more}")
    return problems


def refuse(problems: list[str], where: str) -> None:
    """Raise a `CatalogError` if there are problems."""
    if problems:
        raise CatalogError(
            "positions that are none",
            where=where,
            problems=problems,
            expected="degrees, -180 <= ra <= 360 and -90 <= dec <= 90, NULL or NaN where unknown",
            fix="convert hours or radians to degrees; set positions to NULL where a survey writes -9999",
        )


def _is_numeric(column: pl.Series) -> bool:
    return column.dtype.is_numeric() or column.dtype == pl.Null


def _cos_degrees(dec: ArrayLike) -> NDArray[np.float64]:
    # 90 - |dec| is exact near the poles, where the cosine of a rounded angle would lose all but six digits.
    return np.sin(np.radians(90 - np.abs(np.asarray(dec, dtype=np.float64))))


def missing_columns(columns: list[str], frame: pl.DataFrame, where: str) -> MissingColumns:
    """The error of a frame without these columns."""
    return MissingColumns(
        f"{where} has no column {', '.join(columns)}",
        expected="columns id_str, ra, dec",
        where=f"its columns: {', '.join(frame.columns)}",
        fix="rename the frame's columns: frame.rename({...})",
    )
