"""Cross-match: galaxies of two surveys that are the same object on the sky."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from gzflow.catalog.store import CatalogStore
from gzflow.durable import replacing
from gzflow.errors import SettingsError, StoreError
from gzflow.settings import Settings
from gzflow.sky import count_unpositioned, crossmatch
from gzflow.surveys import load_survey

logger = logging.getLogger(__name__)

How = Literal["all", "nearest", "best"]


@dataclass(frozen=True)
class CrossmatchChunk:
    """One pair of surveys.

    Attributes
    ----------
    radius_arcsec
        Largest separation, inclusive.
    how
        ``all`` pairs, the ``nearest`` right galaxy of each left one, or mutual ``best``.
    """

    left: str
    right: str
    radius_arcsec: float
    how: How


@dataclass(frozen=True)
class CrossmatchSummary:
    """What was matched; `matches` holds (left_id, right_id, separation_arcsec), `file` the same as Parquet."""

    left: str
    right: str
    radius_arcsec: float
    how: str
    n_left: int
    n_right: int
    n_unpositioned: tuple[int, int]
    n_matches: int
    median_arcsec: float | None
    file: Path


def plan(left: str, right: str, radius_arcsec: float, how: How, settings: Settings) -> tuple[CrossmatchChunk, ...]:
    """The one chunk there is, after checking that both surveys are in the store.

    Raises
    ------
    SettingsError
        A survey matched with itself, or a radius that is none.
    StoreError
        A survey that was not ingested.
    """
    names = [load_survey(survey).name for survey in (left, right)]
    problems = []
    if names[0] == names[1]:
        problems.append(f"{names[0]} with itself: give two surveys")
    if not 0 < radius_arcsec <= 3600:
        problems.append(f"radius {radius_arcsec} arcsec: give more than 0 and at most 3600")
    if problems:
        raise SettingsError("cross-match cannot begin", problems=problems, fix="correct the arguments")
    with CatalogStore(settings.catalog_url) as store:
        known = store.survey_names()
    if absent := [name for name in names if name not in known]:
        raise StoreError(
            f"not in the catalog store: {', '.join(absent)}",
            expected=f"ingested surveys ({', '.join(known) or 'none yet'})",
            fix=f"run `gzflow ingest {absent[0]} --catalog FILE` first",
        )
    return (CrossmatchChunk(names[0], names[1], radius_arcsec, how),)


def run_chunk(chunk: CrossmatchChunk, settings: Settings) -> CrossmatchSummary:
    """The matches of one pair of surveys, recorded in the store and beside it as Parquet."""
    with CatalogStore(settings.catalog_url) as store:
        left, right = (store.galaxies(name).select("id_str", "ra", "dec") for name in (chunk.left, chunk.right))
        matches = crossmatch(left, right, chunk.radius_arcsec, chunk.how)
        store.record_crossmatch(chunk.left, chunk.right, chunk.radius_arcsec, chunk.how, matches)
    file = settings.home / "crossmatch" / f"{chunk.left}__{chunk.right}.parquet"
    with replacing(file) as temporary:
        matches.write_parquet(temporary)
    median = matches["separation_arcsec"].median() if len(matches) else None
    summary = CrossmatchSummary(
        left=chunk.left,
        right=chunk.right,
        radius_arcsec=chunk.radius_arcsec,
        how=chunk.how,
        n_left=len(left),
        n_right=len(right),
        n_unpositioned=(count_unpositioned(left), count_unpositioned(right)),
        n_matches=len(matches),
        median_arcsec=float(median) if isinstance(median, (int, float)) else None,
        file=file,
    )
    logger.info(
        "%s x %s within %g arcsec (%s): %s pairs of %s and %s galaxies, %s without a position",
        chunk.left, chunk.right, chunk.radius_arcsec, chunk.how, f"{len(matches):,}", f"{len(left):,}",
        f"{len(right):,}", f"{sum(summary.n_unpositioned):,}",
    )  # fmt: skip
    return summary


def separations(settings: Settings, left: str, right: str) -> pl.Series:
    """Separations in arcsec of the recorded matches, for a histogram."""
    with CatalogStore(settings.catalog_url) as store:
        return store.crossmatch(left, right)["separation_arcsec"]
