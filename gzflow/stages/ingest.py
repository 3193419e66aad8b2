"""Ingest: a catalog file into the store, and a checked image for each of its galaxies."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import polars as pl

from gzflow.catalog.read import spool_catalog
from gzflow.catalog.store import CatalogStore
from gzflow.cutouts import services
from gzflow.durable import write_bytes
from gzflow.errors import SettingsError
from gzflow.lock import exclusive
from gzflow.settings import Settings
from gzflow.stages import mosaics
from gzflow.stages.counts import Counts
from gzflow.stages.ids import Ids
from gzflow.stages.images import (
    changed_images,
    forget_troubles,
    from_files,
    from_service,
    given_up,
    host,
    image_files,
    settle_claims,
    write_ledger,
)
from gzflow.surveys import Survey, load_survey

logger = logging.getLogger(__name__)

CHUNK = 512
CHUNK_SECONDS = 60
"""Longest that one chunk should take at the survey's request rate."""
SERVICE_CHUNK = 4096
"""Most galaxies of a chunk that a service is asked for: a fast one is not kept waiting between chunks."""


@dataclass(frozen=True)
class IngestSource:
    """What to ingest.

    Attributes
    ----------
    survey
        Shipped name or path of a TOML.
    catalog
        Table file; None uses what the store already holds.
    mapping
        Table from ids to file names, where the survey's archive needs one.
    joins
        Second tables by the survey's name for them.
    images
        Folders and ZIPs, or folders of tiles for a survey with ``[mosaic]``; none means its cutout service.
    retry_failed
        Ask again for galaxies whose answer was final: no coverage, refused, not an image.
    """

    survey: str
    catalog: str | None = None
    mapping: str | None = None
    joins: Mapping[str, str] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    retry_failed: bool = False

    @classmethod
    def of(
        cls,
        survey: str,
        catalog: Path | None = None,
        mapping: Path | None = None,
        joins: Mapping[str, Path] | None = None,
        images: Iterable[Path] | None = None,
        *,
        retry_failed: bool = False,
    ) -> Self:
        """The same from paths, kept as they were typed for messages."""
        return cls(
            survey=survey,
            catalog=str(catalog) if catalog else None,
            mapping=str(mapping) if mapping else None,
            joins={name: str(path) for name, path in (joins or {}).items()},
            images=tuple(str(path) for path in images or ()),
            retry_failed=retry_failed,
        )

    @property
    def roots(self) -> tuple[str, ...]:
        """`images` as absolute paths, for workers that run elsewhere."""
        return tuple(str(Path(path).absolute()) for path in self.images)


@dataclass(frozen=True)
class IngestChunk:
    """Galaxies whose images are fetched together."""

    survey: str
    images: tuple[str, ...]
    ids: Sequence[str]


@dataclass(frozen=True)
class IngestPlan:
    """What is to be done.

    Attributes
    ----------
    chunks
        At most `CHUNK` galaxies each.
    counts
        Galaxies that need no work: those of earlier runs.
    """

    chunks: tuple[IngestChunk, ...]
    counts: Counts


@dataclass(frozen=True)
class IngestSummary:
    """What a run ends with: the accounting, failures by reason, and images that no catalog row claims."""

    survey: str
    counts: Counts
    reasons: Mapping[str, int]
    unclaimed: tuple[str, ...]
    notes: tuple[str, ...]


def check(source: IngestSource) -> Survey:
    """The survey, after a look at everything that can be wrong before work begins.

    Raises
    ------
    SettingsError
        All problems at once: paths that do not exist, a survey without service and no images, limits of the service.
    """
    survey = load_survey(source.survey)
    problems = [
        f"{name}: {'a folder, not a file' if Path(path).is_dir() else 'no such file'}: {path}"
        for name, path in (
            ("catalog", source.catalog),
            ("mapping", source.mapping),
            *((f"join {key}", path) for key, path in source.joins.items()),
        )
        if path is not None and not Path(path).is_file()
    ]
    problems += [f"images: no such folder or ZIP: {path}" for path in source.images if not Path(path).exists()]
    known = {join.table for join in survey.catalog.join}
    problems += [
        f"join {name!r}: survey {survey.name} knows {', '.join(sorted(known)) or 'no joins'}"
        for name in source.joins
        if name not in known
    ]
    if not source.images:
        if survey.cutout is None:
            problems.append(f"survey {survey.name} has no cutout service: give its images with --images FOLDER|ZIP")
        elif survey.catalog.ra is None:
            problems.append(f"survey {survey.name} names no position columns, so no service can be asked")
        else:
            problems += services.problems(survey.cutout, survey.image.recipe)
    elif not problems and mosaics.on_tiles(survey, source.images):
        problems += mosaics.problems(survey, source.roots)
    elif not problems:
        try:
            image_files(source.roots)
        except SettingsError as error:
            problems += error.problems or [error.what]
    if source.images and not (survey.archive or survey.catalog.image or survey.mosaic):
        problems.append(
            f"survey {survey.name} does not say where an image lies: add catalog.image, [archive] member or [mosaic]"
            " to its TOML"
        )
    if problems:
        raise SettingsError(
            f"ingest of {source.survey} cannot begin",
            problems=problems,
            expected="existing files, and images either from --images or from the survey's cutout service",
            fix="correct the entries above; nothing was written",
        )
    return survey


def alone(source: IngestSource, settings: Settings) -> AbstractContextManager[None]:
    """Keep every other ingest of the survey out until after `finish`: it would ask for the same images.

    Raises
    ------
    Busy
        On entering: another run is at it.
    """
    survey = load_survey(source.survey).name
    return exclusive(settings.cutouts(survey), f"ingesting {survey}")


def forget_files() -> None:
    """Have this process look anew: at folders and ZIPs, and at services that failed, since its last run."""
    image_files.cache_clear()
    forget_troubles()


def read(source: IngestSource, settings: Settings) -> Counts:
    """Counts of the catalog's rows after reading it into the store; ids that fail are in the failure table."""
    forget_files()  # a run begins here
    survey = check(source)
    if source.catalog is None:
        return Counts()
    table = spool_catalog(
        survey,
        Path(source.catalog),
        folder=settings.reading,
        joins={name: Path(path) for name, path in source.joins.items()},
        mapping=Path(source.mapping) if source.mapping else None,
    )
    with table, CatalogStore(settings.catalog_url) as store:
        counts = Counts(
            n_in=table.n_read, done=table.n_galaxies, filtered=table.n_filtered, failed=table.n_failed
        ).balanced(f"reading {source.catalog}")
        vanished = store.upsert_catalog(survey, table)
    for note in table.notes:
        logger.info("%s: %s", survey.name, note)
    if vanished:
        logger.info("%s: %d galaxies are no longer in the file and left the store", survey.name, vanished)
    logger.info("%s: catalog %s", survey.name, counts.sentence())
    return counts


def plan(source: IngestSource, settings: Settings) -> IngestPlan:
    """Chunks of the galaxies that have no image yet, in the store's order; each about a minute of work at most."""
    survey = check(source)
    chunk = CHUNK
    if not source.images and survey.cutout is not None:
        chunk = max(8, min(SERVICE_CHUNK, int(survey.cutout.rate * CHUNK_SECONDS)))
    # A service's final answer stays unless it is asked for again; files cost nothing to look at once more.
    final = ["no-coverage", "failed"] if not (source.retry_failed or source.images) else []
    tiled = mosaics.on_tiles(survey, source.images)
    waiting: list[str] = []
    on_tiles: list[pl.Series] = []
    parts: list[Ids] = []
    finished = given_up = 0
    with CatalogStore(settings.catalog_url) as store:
        for page in _pages(store, survey.name):
            named = dict(page.select("id_str", "image").iter_rows())
            changed = set() if tiled else changed_images(source.roots, named, page)
            kept = (page["state"] == "done").fill_null(value=False) & ~page["id_str"].is_in(list(changed))
            ended = page["state"].is_in(final).fill_null(value=False)
            finished, given_up = finished + int(kept.sum()), given_up + int(ended.sum())
            if tiled:
                on_tiles.append(page.filter(~kept)["id_str"])
            else:
                waiting.extend(page.filter(~kept & ~ended)["id_str"])
                whole = len(waiting) - len(waiting) % chunk
                parts += [Ids(waiting[start : start + chunk]) for start in range(0, whole, chunk)]
                del waiting[:whole]
        if tiled:
            parts = [Ids(part) for part in mosaics.chunks(survey, source.roots, on_tiles, store, settings)]
        elif waiting:
            parts.append(Ids(waiting))
    chunks = tuple(IngestChunk(source.survey, source.roots, part) for part in parts)
    counts = Counts(n_in=finished + given_up, done=finished, reused=finished, failed=given_up)
    return IngestPlan(chunks, counts)


def _pages(store: CatalogStore, survey: str) -> Iterator[pl.DataFrame]:
    """The galaxies of a survey with their ledger rows, some at a time."""
    store.galaxies(survey, ids=[])  # a survey that was never ingested is said to be so
    after: str | None = None
    while len(page := store.ledger_page(survey, after)):
        yield page
        after = page["id_str"][-1]


def run_chunk(chunk: IngestChunk, settings: Settings) -> Counts:
    """Counts of one chunk after finding or fetching its images; running it again asks only for what is missing."""
    survey = load_survey(chunk.survey)
    with CatalogStore(settings.catalog_url) as store:
        # What a killed run fetched or cut is not made again; files are simply read once more.
        tiled = mosaics.on_tiles(survey, chunk.images)
        in_place = bool(chunk.images) and not tiled
        present = set() if in_place else set(store.cutouts(survey.name, states=["done"], ids=chunk.ids)["id_str"])
        rows = store.galaxies(survey.name, ids=[i for i in chunk.ids if i not in present]).to_dicts()
        if tiled:
            batches = mosaics.from_tiles(survey, rows, chunk.images, settings)
        elif in_place:
            batches = from_files(survey, rows, chunk.images)
        else:
            batches = from_service(survey, rows, settings)
        tally = Counts(n_in=len(present), done=len(present), reused=len(present))
        for records in batches:
            tally += write_ledger(store, survey.name, records)
    # Galaxies of the store, not records: one that no batch mentions would be lost without a word.
    return replace(tally, n_in=len(present) + len(rows)).balanced(f"ingest of {survey.name}")


def fetched_from(chunk: IngestChunk) -> str | None:
    """Host and port that the chunk's images are asked for; None where they come from files."""
    return None if chunk.images else host(load_survey(chunk.survey))


def worth_waiting(chunk: IngestChunk) -> bool:
    """Whether galaxies that got no answer may get one soon: not while their service is given up."""
    return not given_up(load_survey(chunk.survey))


def finish(source: IngestSource, settings: Settings) -> IngestSummary:
    """The accounting of the whole survey as the store now has it: all its catalog files together."""
    survey = load_survey(source.survey)
    with CatalogStore(settings.catalog_url) as store:
        tiled = mosaics.on_tiles(survey, source.images)
        unclaimed = () if tiled else settle_claims(store, survey.name, source.roots)
        states = store.counts(survey.name)
        failures = store.failures(survey.name)
        files = [json.loads(counts) for counts in store.ingests(survey.name)["counts"]]
    filtered, unread = (sum(counts[key] for counts in files) for key in ("filtered", "failed"))
    counts = Counts(
        n_in=states["galaxies"] + filtered + unread,
        done=states["done"],
        filtered=filtered,
        failed=states["failed"] + states["no-coverage"] + unread,
        to_do=states["to-do"],
    ).balanced(f"ingest of {survey.name}")
    notes = []
    if unclaimed:
        listing = settings.reports(survey.name) / "unclaimed-images.csv"
        write_bytes(listing, _csv(["image"], ([name] for name in unclaimed)))
        notes.append(f"{len(unclaimed):,} images belong to no catalog row: {listing}")
    if len(failures):
        listing = settings.reports(survey.name) / "failures.csv"
        columns = ["id_str", "stage", "reason", "detail"]
        write_bytes(listing, _csv(columns, failures.select(columns).iter_rows()))
        notes.append(f"{len(failures):,} failures, each with its reason: {listing}")
    if counts.failed and not source.images:
        notes.append("final answers of a service are asked for again with --retry-failed")
    reasons = dict(sorted(failures["reason"].value_counts().iter_rows())) if len(failures) else {}
    logger.info("%s: images %s", survey.name, counts.sentence())
    for note in notes:
        logger.info("%s: %s", survey.name, note)
    return IngestSummary(survey.name, counts, reasons, unclaimed, tuple(notes))


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue().encode()
