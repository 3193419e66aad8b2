"""Ingest: a catalog file into the store, and a checked image for each of its galaxies."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from gzflow.catalog.failure import Failure
from gzflow.catalog.read import read_catalog
from gzflow.catalog.store import CatalogStore, CutoutRecord, State
from gzflow.cutouts import services
from gzflow.cutouts.archives import ImageFiles, ImagePlace, read_image
from gzflow.cutouts.fetch import Fetched, Target, fetch_cutouts
from gzflow.cutouts.picture import read_picture
from gzflow.cutouts.politeness import RateLimiter
from gzflow.durable import write_bytes
from gzflow.errors import CutoutError, MissingImage, NoCoverage, SettingsError, TransientCutoutError
from gzflow.recipe import CutoutSpec, options_text
from gzflow.settings import Settings
from gzflow.stages.counts import Counts
from gzflow.surveys import Survey, load_survey

logger = logging.getLogger(__name__)

CHUNK = 512
CHUNK_SECONDS = 60
"""Longest that one chunk should take at the survey's request rate."""
STAGE = "ingest"


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
        Folders and ZIPs; none means the survey's cutout service.
    retry_failed
        Ask again for galaxies whose answer was final: no coverage, refused, not an image.
    """

    survey: str
    catalog: str | None = None
    mapping: str | None = None
    joins: Mapping[str, str] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    retry_failed: bool = False


@dataclass(frozen=True)
class IngestChunk:
    """Galaxies whose images are fetched together."""

    survey: str
    images: tuple[str, ...]
    ids: tuple[str, ...]


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
        f"{name}: no such file: {path}"
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
    elif not problems:
        try:
            _image_files(source.images, _versions(source.images))
        except SettingsError as error:
            problems += error.problems or [error.what]
    if source.images and survey.archive is None and survey.catalog.image is None:
        problems.append(
            f"survey {survey.name} does not say where an image lies: add catalog.image or [archive] member to its TOML"
        )
    if problems:
        raise SettingsError(
            f"ingest of {source.survey} cannot begin",
            problems=problems,
            expected="existing files, and images either from --images or from the survey's cutout service",
            fix="correct the entries above; nothing was written",
        )
    return survey


def read(source: IngestSource, settings: Settings) -> Counts:
    """Counts of the catalog's rows after reading it into the store; ids that fail are in the failure table."""
    survey = check(source)
    if source.catalog is None:
        return Counts()
    table = read_catalog(
        survey,
        Path(source.catalog),
        joins={name: Path(path) for name, path in source.joins.items()},
        mapping=Path(source.mapping) if source.mapping else None,
    )
    counts = Counts(
        n_in=table.n_read, done=len(table.galaxies), filtered=table.n_filtered, failed=table.n_failed
    ).balanced(f"reading {source.catalog}")
    with CatalogStore(settings.catalog_url) as store:
        store.upsert_catalog(survey, table)
        store.record_ingest(
            survey.name,
            str(Path(source.catalog).absolute()),
            {
                "read": table.n_read,
                "filtered": table.n_filtered,
                "failed": table.n_failed,
                "galaxies": len(table.galaxies),
            },
        )
    for note in table.notes:
        logger.info("%s: %s", survey.name, note)
    logger.info("%s: catalog %s", survey.name, counts.sentence())
    return counts


def plan(source: IngestSource, settings: Settings) -> IngestPlan:
    """Chunks of the galaxies that have no image yet, in the store's order; each about a minute of work at most."""
    survey = check(source)
    chunk = CHUNK
    if not source.images and survey.cutout is not None:
        chunk = max(8, min(CHUNK, int(survey.cutout.rate * CHUNK_SECONDS)))
    with CatalogStore(settings.catalog_url) as store:
        named = dict(store.galaxies(survey.name).select("id_str", "image").iter_rows())
        ledger = store.cutouts(survey.name)
    galaxies = list(named)
    state = dict(zip(ledger["id_str"], ledger["state"], strict=True))
    # A service's final answer stays unless it is asked for again; files cost nothing to look at once more.
    final = {"no-coverage", "failed"} if not (source.retry_failed or source.images) else set()
    finished = {i for i in galaxies if state.get(i) == "done"} - _changed(source.images, named, ledger)
    given_up = {i for i in galaxies if state.get(i) in final}
    to_do = [i for i in galaxies if i not in finished and i not in given_up]
    chunks = tuple(
        IngestChunk(source.survey, tuple(str(Path(path).absolute()) for path in source.images), tuple(part))
        for part in (to_do[start : start + chunk] for start in range(0, len(to_do), chunk))
    )
    counts = Counts(n_in=len(finished) + len(given_up), done=len(finished), reused=len(finished), failed=len(given_up))
    return IngestPlan(chunks, counts)


def run_chunk(chunk: IngestChunk, settings: Settings) -> Counts:
    """Counts of one chunk after finding or fetching its images; running it again asks only for what is missing."""
    survey = load_survey(chunk.survey)
    with CatalogStore(settings.catalog_url) as store:
        # What a killed run fetched is not asked for again; files are simply read once more.
        present = set() if chunk.images else set(store.cutouts(survey.name, states=["done"], ids=chunk.ids)["id_str"])
        rows = store.galaxies(survey.name, ids=[i for i in chunk.ids if i not in present]).to_dicts()
        batches = _from_files(survey, rows, chunk.images) if chunk.images else _from_service(survey, rows, settings)
        tally = Counts(n_in=len(present), done=len(present), reused=len(present))
        for records in batches:
            tally += _write_ledger(store, survey.name, records)
    return tally.balanced(f"ingest of {survey.name}")


def finish(source: IngestSource, settings: Settings) -> IngestSummary:
    """The accounting of the whole survey as the store now has it: all its catalog files together."""
    survey = load_survey(source.survey)
    with CatalogStore(settings.catalog_url) as store:
        unclaimed = _settle_claims(store, survey.name, source.images)
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


def _from_files(
    survey: Survey, rows: Sequence[Mapping[str, Any]], images: tuple[str, ...]
) -> Iterable[list[CutoutRecord]]:
    resolved = _image_files(images, _versions(images)).resolve({row["id_str"]: row["image"] for row in rows})
    yield [_failed(id_str, error) for id_str, error in resolved.failures.items()]
    yield [_from_place(survey, id_str, place) for id_str, place in resolved.places.items()]


def _from_place(survey: Survey, id_str: str, place: ImagePlace) -> CutoutRecord:
    try:
        content = read_image(place)
        read_picture(content, what=f"galaxy {id_str}: {place}", recipe_name=survey.image.recipe)
    except CutoutError as error:
        return _failed(id_str, error)
    return CutoutRecord(
        id_str=id_str,
        state="done",
        path=place.path,
        member=place.member,
        source="zip" if place.member else "folder",
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _from_service(
    survey: Survey, rows: Sequence[Mapping[str, Any]], settings: Settings
) -> Iterable[list[CutoutRecord]]:
    spec = survey.cutout
    if spec is None:  # `check` refused this before any chunk was made
        raise SettingsError(f"survey {survey.name} has no cutout service", fix="give its images with --images")
    problems = {row["id_str"]: _unaskable(row) for row in rows}
    yield [_failed(id_str, error) for id_str, error in problems.items() if error is not None]
    targets = [
        Target(row["id_str"], row["ra"], row["dec"], row["pixscale"]) for row in rows if problems[row["id_str"]] is None
    ]
    fetched = asyncio.run(
        fetch_cutouts(
            targets,
            spec,
            settings.cutouts(survey.name),
            recipe_name=survey.image.recipe,
            contact=settings.contact,
            limiter=_limiter(spec.url or spec.service, spec.rate),
        )
    )
    yield [_record(answer, spec) for answer in fetched]


def _unaskable(row: Mapping[str, Any]) -> CutoutError | None:
    """Why no service can be asked for this galaxy, if so."""
    missing = [key for key in ("ra", "dec", "pixscale") if row[key] is None or not math.isfinite(row[key])]
    if not missing:
        return None
    return MissingImage(
        f"cannot be asked for: {', '.join(missing)} unknown",
        where=f"galaxy {row['id_str']}",
        expected="a position in degrees and a pixel scale in arcsec/pixel",
        fix="give the catalog columns or joined table behind them, or the image itself with --images",
    )


def _record(answer: Fetched, spec: CutoutSpec) -> CutoutRecord:
    if answer.error is not None:
        return _failed(answer.id_str, answer.error)
    return CutoutRecord(
        id_str=answer.id_str,
        state="done",
        path=str(answer.path),
        source=f"{spec.service}({options_text(dict(spec.options))})",
        bytes=answer.bytes,
        sha256=answer.sha256,
        attempts=answer.attempts,
    )


def _failed(id_str: str, error: CutoutError) -> CutoutRecord:
    state: State = "failed"
    if isinstance(error, TransientCutoutError):
        state = "to-do"
    elif isinstance(error, NoCoverage):
        state = "no-coverage"
    return CutoutRecord(
        id_str=id_str,
        state=state,
        reason=error.reason,
        detail=str(error),
    )


def _write_ledger(store: CatalogStore, survey: str, records: Sequence[CutoutRecord]) -> Counts:
    """Write records and the failures behind them; a galaxy that succeeds loses its old failure."""
    store.clear_failures(survey, STAGE, [record.id_str for record in records])
    store.record_failures(
        survey,
        [
            Failure(record.id_str, STAGE, record.reason or "failed", record.detail or "")
            for record in records
            if record.state != "done"
        ],
    )
    # Last, so that a run killed in between looks at these galaxies again.
    store.record_cutouts(survey, records)
    states = [record.state for record in records]
    return Counts(
        n_in=len(records),
        done=states.count("done"),
        failed=states.count("failed") + states.count("no-coverage"),
        to_do=states.count("to-do"),
    )


@lru_cache(maxsize=4)
def _image_files(images: tuple[str, ...], versions: tuple[int, ...]) -> ImageFiles:  # noqa: ARG001
    """One index a process and state of the folders: chunks share it, a changed folder gets a new one."""
    return ImageFiles([Path(path) for path in images])


@lru_cache(maxsize=64)
def _limiter(host: str, rate: float) -> RateLimiter:  # noqa: ARG001
    """One token bucket a host and process, shared by all chunks."""
    return RateLimiter(rate)


def _versions(images: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(Path(path).stat().st_mtime_ns for path in images)


def _changed(images: tuple[str, ...], named: Mapping[str, str | None], ledger: pl.DataFrame) -> set[str]:
    """Finished galaxies whose name now leads to another file, or to one of another size."""
    if not images:
        return set()
    places = _image_files(images, _versions(images)).resolve(named).places
    done = ledger.filter(pl.col("state") == "done").select("id_str", "path", "member", "bytes")
    return {
        id_str
        for id_str, path, member, size in done.iter_rows()
        if (place := places.get(id_str)) is not None
        and (place != ImagePlace(path, member) or (member is None and Path(path).stat().st_size != size))
    }


def _settle_claims(store: CatalogStore, survey: str, images: tuple[str, ...]) -> tuple[str, ...]:
    """Images that no galaxy's name leads to; galaxies of different chunks that took one file become failures."""
    if not images:
        return ()
    roots = tuple(str(Path(path).absolute()) for path in images)
    named = dict(store.galaxies(survey).select("id_str", "image").iter_rows())
    resolved = _image_files(roots, _versions(roots)).resolve(named)
    taken = set(store.cutouts(survey, states=["done"], ids=list(resolved.failures))["id_str"])
    _write_ledger(
        store, survey, [_failed(id_str, error) for id_str, error in resolved.failures.items() if id_str in taken]
    )
    return tuple(resolved.unclaimed)


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue().encode()
