"""Cross-match: galaxies of two surveys that are the same object on the sky."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from gzflow.catalog.objects import linked
from gzflow.catalog.split import assign
from gzflow.catalog.store import CatalogStore
from gzflow.durable import replacing, write_bytes
from gzflow.errors import SettingsError, StoreError
from gzflow.evaluation.figures import figure_png, overlap_map, separation_histogram, sky_map
from gzflow.settings import Settings
from gzflow.sky import cells, count_unpositioned, crossmatch
from gzflow.stages.split_keys import split_keys
from gzflow.surveys import load_survey

logger = logging.getLogger(__name__)

How = Literal["all", "nearest", "best"]
MOST_POINTS = 100_000
"""Galaxies drawn on the map of one survey."""


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
    """What was matched.

    Attributes
    ----------
    n_unpositioned
        Galaxies of both surveys without a position; they match nothing.
    n_matches
        Pairs.
    n_matched
        Galaxies of both surveys that are in a pair; the others are unmatched.
    n_shared
        Galaxies of both surveys that are in several pairs: for ``nearest``, right ones that several left ones are
        nearest to (many to one).
    n_by_chance
        Pairs that are left when the right survey is moved by a minute of arc or ten radii: about so many of the
        matches are neighbours by chance.
    n_moved
        Galaxies of both surveys whose split is that of their object and not of their own sky cell, by all matches
        recorded so far. Shards that were written before are written again by `gzflow shard`.
    n_crowded
        Objects with several galaxies of one survey; many mean that the radius is too large.
    median_arcsec
        Of the separations; None without a pair.
    file
        ``left_id``, ``right_id``, ``separation_arcsec`` as Parquet.
    pictures
        Files of the sky maps of each survey and of their overlap, and of the separations, by name.
    """

    left: str
    right: str
    radius_arcsec: float
    how: str
    n_left: int
    n_right: int
    n_unpositioned: tuple[int, int]
    n_matches: int
    n_matched: tuple[int, int]
    n_shared: tuple[int, int]
    n_by_chance: int
    n_moved: tuple[int, int]
    n_crowded: int
    median_arcsec: float | None
    file: Path
    pictures: Mapping[str, Path]

    @property
    def n_unmatched(self) -> tuple[int, int]:
        """Galaxies of both surveys in no pair."""
        return self.n_left - self.n_matched[0], self.n_right - self.n_matched[1]

    def rows(self) -> list[dict[str, str]]:
        """The summary as a table for people, a line a fact."""
        sides = (self.left, self.right)
        facts: list[tuple[str, tuple[int, int]]] = [
            ("galaxies", (self.n_left, self.n_right)),
            ("without position", self.n_unpositioned),
            ("matched", self.n_matched),
            ("unmatched", self.n_unmatched),
            ("in several pairs", self.n_shared),
            ("split of their object, not of their cell", self.n_moved),
        ]
        table = [{"": name} | {side: f"{n:,}" for side, n in zip(sides, pair, strict=True)} for name, pair in facts]
        both = [
            ("radius, arcsec", f"{self.radius_arcsec:g}"),
            ("pairs", f"{self.n_matches:,} ({self.how})"),
            ("of them by chance, about", f"{self.n_by_chance:,}"),
            ("objects with several galaxies of one survey", f"{self.n_crowded:,}"),
            ("median separation, arcsec", "-" if self.median_arcsec is None else f"{self.median_arcsec:.3f}"),
        ]
        return table + [{"": name, self.left: value, self.right: ""} for name, value in both]

    def sentence(self) -> str:
        """One line for people."""
        return (
            f"{self.n_matches:,} pairs within {self.radius_arcsec:g} arcsec ({self.how}), about {self.n_by_chance:,} of"
            f" them by chance; unmatched: {self.n_unmatched[0]:,} of {self.n_left:,} {self.left},"
            f" {self.n_unmatched[1]:,} of {self.n_right:,} {self.right}"
        )


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
    """The matches of one pair of surveys, recorded in the store and beside it as Parquet, with pictures."""
    names = chunk.left, chunk.right
    folder = settings.home / "crossmatch"
    with CatalogStore(settings.catalog_url) as store:
        left, right = (store.galaxies(name).select("id_str", "ra", "dec") for name in names)
        matches = crossmatch(left, right, chunk.radius_arcsec, chunk.how)
        store.record_crossmatch(chunk.left, chunk.right, chunk.radius_arcsec, chunk.how, matches)
        n_moved = (_n_moved(store, chunk.left, left), _n_moved(store, chunk.right, right))
        n_crowded = _n_crowded(linked(store, chunk.left))
    file = folder / f"{chunk.left}__{chunk.right}.parquet"
    with replacing(file) as temporary:
        matches.write_parquet(temporary)
    ends = matches["left_id"], matches["right_id"]
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
        n_matched=(ends[0].n_unique(), ends[1].n_unique()),
        n_shared=(_n_repeated(ends[0]), _n_repeated(ends[1])),
        n_by_chance=len(crossmatch(left, _aside(right, chunk.radius_arcsec), chunk.radius_arcsec, chunk.how)),
        n_moved=n_moved,
        n_crowded=n_crowded,
        median_arcsec=float(median) if isinstance(median, (int, float)) else None,
        file=file,
        pictures=_pictures(chunk, left, right, matches, folder),
    )
    logger.info("%s x %s: %s", chunk.left, chunk.right, summary.sentence())
    if n_crowded:
        logger.info("%s objects hold several galaxies of one survey: all of them share a split", f"{n_crowded:,}")
    return summary


def _aside(frame: pl.DataFrame, radius_arcsec: float) -> pl.DataFrame:
    """The same galaxies a little north, or south where there is no more north: as dense, and none where it was."""
    step = max(60.0, 10 * radius_arcsec) / 3600
    return frame.with_columns(
        pl.when(pl.col("dec") + step > 90).then(pl.col("dec") - step).otherwise(pl.col("dec") + step)
    )


def _n_repeated(ids: pl.Series) -> int:
    return int((ids.value_counts()["count"] > 1).sum())


def _n_moved(store: CatalogStore, survey: str, galaxies: pl.DataFrame) -> int:
    """Galaxies whose object's split is not the one of their own sky cell."""
    ids = galaxies["id_str"].to_list()
    ra, dec = (galaxies[name].fill_null(float("nan")).to_numpy() for name in ("ra", "dec"))
    own = [str(cell) if cell >= 0 else id_str for cell, id_str in zip(cells(ra, dec).tolist(), ids, strict=True)]
    keys = split_keys(store, survey, ids, ra, dec)
    return int((assign(keys, ids).splits != assign(own, ids).splits).sum())


def _n_crowded(members: pl.DataFrame) -> int:
    crowded = members.group_by("object", "survey").len().filter(pl.col("len") > 1)
    return crowded["object"].n_unique()


def _pictures(
    chunk: CrossmatchChunk, left: pl.DataFrame, right: pl.DataFrame, matches: pl.DataFrame, folder: Path
) -> dict[str, Path]:
    title = f"{chunk.left} x {chunk.right}"
    figures = {"map": overlap_map(left, right, matches, names=(chunk.left, chunk.right))}
    for name, frame in ((chunk.left, left), (chunk.right, right)):
        ra, dec = (frame[column].fill_null(float("nan")).to_numpy() for column in ("ra", "dec"))
        figures[f"map-{name}"] = sky_map(ra, dec, title=name, most=MOST_POINTS)
    if len(matches):
        separations = matches["separation_arcsec"].to_numpy()
        figures["separations"] = separation_histogram(separations, chunk.radius_arcsec, title=title)
    files = {name: folder / f"{chunk.left}__{chunk.right}-{name}.png" for name in figures}
    for name, figure in figures.items():
        write_bytes(files[name], figure_png(figure))
    return files
