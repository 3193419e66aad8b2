"""Shard: images and votes at training resolution, in HDF5 files that are written once."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gzflow.catalog.failure import Failure
from gzflow.catalog.split import assign
from gzflow.catalog.store import CatalogStore
from gzflow.cutouts.archives import ImagePlace
from gzflow.errors import CutoutError, ShardError, StoreError
from gzflow.lock import exclusive
from gzflow.recipe import ImageRecipe
from gzflow.settings import Settings, without_password
from gzflow.shards.header import MANIFEST, SHARD_SIZE, Codec, ShardEntry, ShardHeader, Split
from gzflow.shards.plan import plan_shards
from gzflow.shards.reader import ShardSet
from gzflow.shards.shard_file import reusable
from gzflow.shards.writer import begin_set, write_manifest, write_shard
from gzflow.stages.counts import Counts
from gzflow.stages.shard_images import IngestedImage, ShardImages, unusable
from gzflow.stages.split_keys import split_keys
from gzflow.stages.unmatched import unmatched
from gzflow.surveys import Survey, load_survey

logger = logging.getLogger(__name__)

STAGE = "shard"
MEMORY = 384 * 2**20
"""Bytes of pixels that one chunk may hold."""


@dataclass(frozen=True)
class ShardChunk:
    """One shard to be written.

    Attributes
    ----------
    file
        Name in the set's folder.
    fingerprint
        Of everything that decides the content: recipe, tree, ids, image checksums, votes.
    """

    survey: str
    folder: str
    file: str
    split: Split
    codec: Codec
    pixels: int
    fingerprint: str
    ids: tuple[str, ...]


@dataclass(frozen=True)
class ShardPlan:
    """The shards of a set, and what is known of it before any is written."""

    survey: str
    folder: str
    pixels: int
    codec: Codec
    chunks: tuple[ShardChunk, ...]
    n_galaxies: int
    forced_split: bool


@dataclass(frozen=True)
class ShardSummary:
    """A closed set and the accounting behind it."""

    survey: str
    folder: Path
    pixels: int
    counts: Counts
    splits: Mapping[str, int]
    fingerprint: str


def alone(survey_name: str, settings: Settings, *, pixels: int = 300) -> AbstractContextManager[None]:
    """Keep every other run out of the set from before `plan` until after `finish`; two would mix their shards.

    The lock belongs to the process that plans and finishes: its chunks may run in other threads and processes.

    Raises
    ------
    Busy
        On entering: another run is at it.
    """
    survey = load_survey(survey_name)
    return exclusive(settings.shards(survey.name, pixels), f"writing shards of {survey.name}, {pixels} px")


def plan(survey_name: str, settings: Settings, *, pixels: int = 300, codec: Codec = "raw") -> ShardPlan:
    """The shards that the store's images make, split by sky cell, with the same objects of all surveys on one side.

    Raises
    ------
    StoreError
        No galaxy of this survey has an image yet.
    """
    survey = load_survey(survey_name)
    recipe = survey.image_recipe(pixels)
    with CatalogStore(settings.catalog_url) as store:
        table = _table(store, survey)
        ids = table["id_str"].to_list()
        ra, dec = _floats(table["ra"]), _floats(table["dec"])
        keys = split_keys(store, survey.name, ids, ra, dec)
        shared = unmatched(store, survey.name, ra, dec)
    if not len(table):
        raise StoreError(
            f"survey {survey.name} has no galaxy with an image",
            where=without_password(settings.catalog_url),
            expected="one or more galaxies ingested with state done",
            fix=f"run `gzflow ingest {survey_name} --catalog FILE` and look at `gzflow status`",
        )
    for other, share in shared.items():
        logger.warning(
            "about %.3g %% of the galaxies of %s are also in %s and no recorded match links them: some may be on two"
            " sides of a split; run `gzflow crossmatch %s %s` first (a survey of your own: the path of its TOML)",
            *(100 * share, other, survey.name, survey_name, other),
        )
    assignment = assign(keys, ids)
    size = max(1, min(SHARD_SIZE, MEMORY // (pixels * pixels * recipe.n_channels)))
    folder = settings.shards(survey.name, pixels)
    chunks = tuple(
        ShardChunk(
            survey=survey_name,
            folder=str(folder),
            file=part.file,
            split=part.split,
            codec=codec,
            pixels=pixels,
            fingerprint=_fingerprint(survey, recipe, codec, part.split, rows := table[part.rows.tolist()]),
            ids=tuple(rows["id_str"]),
        )
        for part in plan_shards(assignment.splits.tolist(), size=size)
    )
    whole = all((entry := _written(chunk, survey)) and entry.n == len(chunk.ids) for chunk in chunks)
    if not (whole and (folder / MANIFEST).exists()):
        begin_set(folder)
    return ShardPlan(survey_name, str(folder), pixels, codec, chunks, len(table), assignment.forced)


def run_chunk(chunk: ShardChunk, settings: Settings) -> Counts:
    """Counts after writing one shard; one that is there with the same fingerprint is left as it is."""
    survey = load_survey(chunk.survey)
    recipe = survey.image_recipe(chunk.pixels)
    path = Path(chunk.folder) / chunk.file
    # A shard that lacks galaxies is written again: their images may be back.
    if (entry := _written(chunk, survey)) and entry.n == len(chunk.ids):
        return Counts(n_in=entry.n, done=entry.n, reused=entry.n)
    with CatalogStore(settings.catalog_url) as store:
        table = _table(store, survey, chunk.ids)
    failed: dict[str, CutoutError] = {}
    try:
        _write(chunk, survey, table)
    except CutoutError:
        # A shard's length is settled before its first image, and what was ingested seldom fails here: only then are
        # all images looked at, and the good ones read once more.
        failed = unusable(_ingested(table), recipe)
        table = table.filter(~pl.col("id_str").is_in(list(failed)))
        if len(table):
            _write(chunk, survey, table)
    with CatalogStore(settings.catalog_url) as store:
        store.clear_failures(survey.name, STAGE, list(chunk.ids))
        store.record_failures(
            survey.name, [Failure(id_str, STAGE, error.reason, str(error)) for id_str, error in failed.items()]
        )
    return Counts(n_in=len(chunk.ids), done=len(table), failed=len(failed)).balanced(f"shard {path.name}")


def finish(plan_: ShardPlan, counts: Counts) -> ShardSummary:
    """What the closed set holds: its manifest is written last, then shards of older sets are removed.

    Raises
    ------
    ShardError
        Every image failed, so there is nothing to close.
    """
    survey = load_survey(plan_.survey)
    folder = Path(plan_.folder)
    entries = [entry for chunk in plan_.chunks if (entry := _written(chunk, survey))]
    if not entries:
        raise ShardError(
            f"no shard of {survey.name} could be written: every image failed",
            where=str(folder),
            expected="one or more readable images",
            fix="look at the failure table: `gzflow status`",
        )
    notes = ["no split was empty only because galaxies were moved by rank"] if plan_.forced_split else []
    write_manifest(
        folder,
        _header(plan_.chunks[0], survey),
        entries,
        counts={"n_in": counts.n_in, "failed": counts.failed},
        notes=notes,
        survey_info=survey.about.model_dump(),
    )
    shards = ShardSet.open(folder)
    summary = ShardSummary(
        survey=survey.name,
        folder=folder,
        pixels=plan_.pixels,
        counts=counts,
        splits={split: shards.n(split) for split in ("train", "validation", "test")},
        fingerprint=shards.fingerprint,
    )
    sizes = ", ".join(f"{n:,} {split}" for split, n in summary.splits.items())
    logger.info("%s: shards %s: %s", survey.name, counts.sentence(), sizes)
    return summary


def _table(store: CatalogStore, survey: Survey, ids: Sequence[str] | None = None) -> pl.DataFrame:
    """One row a galaxy that has an image: place, checksum, position, votes; sorted by id."""
    cutouts = store.cutouts(survey.name, states=["done"], ids=ids).select("id_str", "path", "member", "sha256")
    galaxies = store.galaxies(survey.name, ids=ids).select("id_str", "ra", "dec", "pixscale")
    votes = store.votes(survey, ids=ids).select("id_str", *survey.tree.answers)
    table = cutouts.join(galaxies, on="id_str", how="inner").join(votes, on="id_str", how="left")
    return table.with_columns(pl.col(survey.tree.answers).fill_null(0)).sort("id_str")


def _fingerprint(survey: Survey, recipe: ImageRecipe, codec: Codec, split: Split, table: pl.DataFrame) -> str:
    """Hash of everything that decides a shard's content."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([recipe.model_dump(), survey.tree.fingerprint, codec, split]).encode())
    for row in table.select("id_str", "sha256", "ra", "dec", "pixscale", *survey.tree.answers).iter_rows():
        digest.update(repr(row).encode())
    return digest.hexdigest()


def _header(chunk: ShardChunk, survey: Survey) -> ShardHeader:
    return ShardHeader(
        survey=survey.name,
        tree=survey.tree.to_dict(),
        recipe=survey.image_recipe(chunk.pixels),
        split=chunk.split,
        codec=chunk.codec,
        source_fingerprint=chunk.fingerprint,
    )


def _write(chunk: ShardChunk, survey: Survey, table: pl.DataFrame) -> None:
    with closing(ShardImages(_ingested(table), survey.image_recipe(chunk.pixels), chunk.codec)) as images:
        write_shard(
            Path(chunk.folder) / chunk.file,
            _header(chunk, survey),
            images=images,
            votes=table.select(survey.tree.answers).to_numpy().astype(np.int32),
            ids=table["id_str"].to_list(),
            ra=_floats(table["ra"]),
            dec=_floats(table["dec"]),
            pixscale=_shard_pixscale(survey, table, chunk.pixels),
        )


def _ingested(table: pl.DataFrame) -> list[IngestedImage]:
    rows = table.select("id_str", "path", "member", "sha256").iter_rows()
    return [IngestedImage(id_str, ImagePlace(path, member), sha256) for id_str, path, member, sha256 in rows]


def _written(chunk: ShardChunk, survey: Survey) -> ShardEntry | None:
    """The finished shard's entry, if it holds this very content."""
    return reusable(Path(chunk.folder) / chunk.file, _header(chunk, survey))


def _shard_pixscale(survey: Survey, table: pl.DataFrame, pixels: int) -> NDArray[np.float64]:
    """Arcsec per pixel in the shard: the field of view is the survey's, over fewer or more pixels."""
    if survey.pixels is None:
        return np.full(len(table), np.nan)
    return _floats(table["pixscale"]) * survey.pixels / pixels


def _floats(column: pl.Series) -> NDArray[np.float64]:
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
