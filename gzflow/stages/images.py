"""Images for the galaxies of a chunk: out of files or from a service, each with its row in the ledger."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from gzflow.catalog.failure import Failure
from gzflow.catalog.store import CatalogStore, CutoutRecord, State
from gzflow.cutouts.archives import ImageFiles, ImagePlace, read_image
from gzflow.cutouts.exchange import begun, exchange
from gzflow.cutouts.fetch import Fetched, Target
from gzflow.cutouts.picture import read_picture
from gzflow.cutouts.services import SERVICES
from gzflow.errors import CutoutError, MissingImage, NoCoverage, SettingsError, TransientCutoutError
from gzflow.recipe import CutoutSpec, options_text
from gzflow.settings import Settings
from gzflow.stages.counts import Counts
from gzflow.surveys import Survey

STAGE = "ingest"


def from_files(
    survey: Survey, rows: Sequence[Mapping[str, Any]], images: tuple[str, ...]
) -> Iterable[list[CutoutRecord]]:
    """Ledger rows of galaxies whose images lie in folders and ZIPs: found, read, checked, left where they are."""
    resolved = image_files(images).resolve({row["id_str"]: row["image"] for row in rows})
    yield [failed_record(id_str, error) for id_str, error in resolved.failures.items()]
    yield [_from_place(survey, id_str, place) for id_str, place in resolved.places.items()]


def _from_place(survey: Survey, id_str: str, place: ImagePlace) -> CutoutRecord:
    try:
        content = read_image(place)
        read_picture(content, what=f"galaxy {id_str}: {place}", recipe_name=survey.image.recipe)
    except CutoutError as error:
        return failed_record(id_str, error)
    return CutoutRecord(
        id_str=id_str,
        state="done",
        path=place.path,
        member=place.member,
        source="zip" if place.member else "folder",
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def from_service(survey: Survey, rows: Sequence[Mapping[str, Any]], settings: Settings) -> Iterable[list[CutoutRecord]]:
    """Ledger rows of galaxies whose images the survey's service is asked for, politely; each batch is on disk."""
    spec = survey.cutout
    if spec is None:  # `check` refused this before any chunk was made
        raise SettingsError(f"survey {survey.name} has no cutout service", fix="give its images with --images")
    problems = {row["id_str"]: unaskable(row) for row in rows}
    yield [failed_record(id_str, error) for id_str, error in problems.items() if error is not None]
    targets = [
        Target(row["id_str"], row["ra"], row["dec"], row["pixscale"]) for row in rows if problems[row["id_str"]] is None
    ]
    fetched = exchange().fetch(
        targets,
        spec,
        settings.cutouts(survey.name),
        recipe_name=survey.image.recipe,
        contact=settings.contact,
    )
    with closing(fetched):
        for batch in fetched:
            yield [_record(answer, spec) for answer in batch]


def host(survey: Survey) -> str | None:
    """Host and port of the survey's cutout service, which decide how many may ask it at a time."""
    if survey.cutout is None:
        return None
    return SERVICES[survey.cutout.service].request(survey.cutout, 0.0, 0.0, 1.0).host


def given_up(survey: Survey) -> bool:
    """Whether the survey's service failed for everyone for longer than its patience: asking soon is no use."""
    running = begun()
    return survey.cutout is not None and running is not None and running.given_up(survey.cutout)


def forget_troubles() -> None:
    """Believe in every service again: a new run asks for itself."""
    if (running := begun()) is not None:
        running.forget_troubles()


def unaskable(row: Mapping[str, Any]) -> CutoutError | None:
    """Why nobody can be asked for an image of this galaxy, and no tile either, if so."""
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
        return replace(failed_record(answer.id_str, answer.error), attempts=answer.attempts)
    return CutoutRecord(
        id_str=answer.id_str,
        state="done",
        path=str(answer.path),
        source=f"{spec.service}({options_text(dict(spec.options))})",
        bytes=answer.bytes,
        sha256=answer.sha256,
        attempts=answer.attempts,
    )


def failed_record(id_str: str, error: CutoutError) -> CutoutRecord:
    """The ledger row of a galaxy that got no image."""
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


def write_ledger(store: CatalogStore, survey: str, records: Sequence[CutoutRecord]) -> Counts:
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
def image_files(images: tuple[str, ...]) -> ImageFiles:
    """One index a process, which chunks share; `gzflow.stages.ingest.read` clears it, so that a run sees new files."""
    return ImageFiles([Path(path) for path in images])


def changed_images(images: tuple[str, ...], named: Mapping[str, str | None], ledger: pl.DataFrame) -> set[str]:
    """Finished galaxies whose name now leads to another file, or to one of another size."""
    if not images:
        return set()
    places = image_files(images).resolve(named).places
    done = ledger.filter(pl.col("state") == "done").select("id_str", "path", "member", "bytes")
    return {
        id_str
        for id_str, path, member, size in done.iter_rows()
        if (place := places.get(id_str)) is not None
        and (place != ImagePlace(path, member) or (member is None and Path(path).stat().st_size != size))
    }


def settle_claims(store: CatalogStore, survey: str, images: tuple[str, ...]) -> tuple[str, ...]:
    """Images that no galaxy's name leads to; galaxies of different chunks that took one file become failures."""
    if not images:
        return ()
    named = dict(store.galaxies(survey).select("id_str", "image").iter_rows())
    resolved = image_files(images).resolve(named)
    taken = set(store.cutouts(survey, states=["done"], ids=list(resolved.failures))["id_str"])
    write_ledger(
        store, survey, [failed_record(id_str, error) for id_str, error in resolved.failures.items() if id_str in taken]
    )
    return tuple(resolved.unclaimed)
