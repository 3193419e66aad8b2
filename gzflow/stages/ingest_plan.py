"""Plan an ingest: galaxies, requests, bytes and hours, before anything starts; nothing is kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy.engine import make_url

from gzflow.catalog.store import CatalogStore
from gzflow.errors import StoreError
from gzflow.settings import Settings, without_password
from gzflow.stages import ingest
from gzflow.stages.counts import Counts
from gzflow.stages.free_space import free_space
from gzflow.stages.ingest import IngestChunk, IngestSource
from gzflow.stages.ingest_sample import IngestSample, take_sample
from gzflow.stages.pace import Pace, latest_pace
from gzflow.surveys import Survey

SAMPLE_S = 4.0
SMALLEST_SAMPLE, LARGEST_SAMPLE = 16, 512
"""A sample is about four seconds at the service's rate, within these bounds."""
FILES_SAMPLE = 256
MUCH = 0.5


@dataclass(frozen=True)
class IngestForecast:
    """What an ingest would do.

    Attributes
    ----------
    asked
        Where images would come from.
    catalog
        Rows of the catalog file; None where none was given.
    reading_s
        Seconds to read it into a store.
    galaxies, finished, given_up, to_do
        Of the survey: all, with an image, with a final answer and no image, and those that the run would work on.
    requests
        To the service, repetitions included; 0 for files.
    galaxies_per_s
        The pace expected; None where nothing is known of it.
    held_back
        Whether it is the survey's `rate` that decides the pace.
    bytes
        Of the images that would be written; of those read, for files. None where nothing is known.
    done
        Share of galaxies that would get an image.
    sample, pace
        What the numbers rest on: galaxies tried just now, or an earlier run.
    free
        Bytes free where the home is.
    """

    survey: str
    asked: str
    catalog: Counts | None
    reading_s: float
    galaxies: int
    finished: int
    given_up: int
    to_do: int
    requests: int
    galaxies_per_s: float | None
    held_back: bool
    bytes: float | None
    done: float
    sample: IngestSample | None
    pace: Pace | None
    free: int

    @property
    def images_s(self) -> float | None:
        """Seconds for all images."""
        if not self.to_do:
            return 0.0
        return self.to_do / self.galaxies_per_s if self.galaxies_per_s else None

    @property
    def seconds(self) -> float | None:
        """Seconds in all, the start of the orchestrator excluded."""
        return None if self.images_s is None else self.reading_s + self.images_s


def forecast(
    source: IngestSource, settings: Settings, *, sample: int | None = None, workers: int = 2
) -> IngestForecast:
    """What `gzflow ingest` would do with this source.

    The catalog is read whole into a store that is thrown away, so that its numbers are exact. Images are estimated from
    a sample that is really ingested, or from the ledger of the survey's latest run.

    Parameters
    ----------
    sample
        Galaxies to try. None: none where a ledger tells the pace of the service, else as many as its rate allows in
        four seconds (16 to 512), or 256 files. 0 sends no request.
    workers
        Chunks that the run works on at a time.

    Raises
    ------
    SettingsError, CatalogError, StoreError
        As ingest itself.
    """
    survey = ingest.check(source)
    here = _known(settings, survey)
    if source.catalog is None and not here:
        raise StoreError(
            f"survey {survey.name!r} is not in the catalog store, so there is nothing to plan for",
            where=without_password(settings.catalog_url),
            expected="an ingested survey, or the table that is to be ingested",
            fix="give its table with --catalog FILE",
        )
    with TemporaryDirectory(prefix="gzflow-plan-") as folder:
        scratch = Settings.load({}, home=Path(folder))
        catalog, reading_s = None, 0.0
        parts: tuple[IngestChunk, ...] = ()
        if source.catalog is not None:
            start = time.perf_counter()
            catalog = ingest.read(source, scratch)
            reading_s = time.perf_counter() - start
        plain = replace(source, catalog=None)
        counts, to_do = Counts(), 0
        if here:
            waiting = ingest.plan(plain, settings)
            counts, to_do, parts = waiting.counts, _length(waiting.chunks), waiting.chunks
        if catalog is not None:
            parts = ingest.plan(plain, scratch).chunks
            to_do += _unknown(parts, settings, survey) if here else _length(parts)
        pace = _pace(settings, survey) if here and not source.images else None
        size = _sample_size(source, survey, pace) if sample is None else sample
        tried = None
        if size and to_do:
            origin = settings if catalog is None else scratch
            ids = [chunk.ids for chunk in parts]
            tried = take_sample(source, settings, ids, size, origin=origin, workers=workers)
    rate, held_back, attempts = expected_pace(survey, source, tried, pace)
    per_image = tried.bytes_per_image if tried else pace.bytes_per_image if pace else None
    share = tried.done if tried and tried.put_off <= MUCH else 1.0
    return IngestForecast(
        survey=survey.name,
        asked=_asked(source, survey),
        catalog=catalog,
        reading_s=reading_s,
        galaxies=counts.n_in + to_do,
        finished=counts.done,
        given_up=counts.failed,
        to_do=to_do,
        requests=0 if source.images else round(to_do * attempts),
        galaxies_per_s=rate,
        held_back=held_back,
        bytes=None if per_image is None else per_image * to_do * share,
        done=share,
        sample=tried,
        pace=None if tried else pace,
        free=free_space(settings.home),
    )


def _known(settings: Settings, survey: Survey) -> bool:
    """Whether the real store holds the survey; no store is made by looking."""
    url = make_url(settings.catalog_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return False
    with CatalogStore(settings.catalog_url) as store:
        return survey.name in store.survey_names()


def _length(chunks: Sequence[IngestChunk]) -> int:
    return sum(len(chunk.ids) for chunk in chunks)


def _unknown(chunks: Sequence[IngestChunk], settings: Settings, survey: Survey) -> int:
    """How many of the chunks' galaxies the real store does not hold."""
    with CatalogStore(settings.catalog_url) as store:
        return sum(len(chunk.ids) - len(store.galaxies(survey.name, ids=chunk.ids)) for chunk in chunks)


def _pace(settings: Settings, survey: Survey) -> Pace | None:
    with CatalogStore(settings.catalog_url) as store:
        return latest_pace(store.cutout_times(survey.name))


def _sample_size(source: IngestSource, survey: Survey, pace: Pace | None) -> int:
    if source.images or survey.cutout is None:
        return FILES_SAMPLE
    if pace is not None and pace.bytes_per_image is not None:
        return 0
    return int(min(max(survey.cutout.rate * SAMPLE_S, SMALLEST_SAMPLE), LARGEST_SAMPLE))


def expected_pace(
    survey: Survey, source: IngestSource, sample: IngestSample | None, pace: Pace | None
) -> tuple[float | None, bool, float]:
    """Galaxies a second (None: unknown), whether the service's rate decides it, and attempts a galaxy."""
    # A service in trouble shows neither its pace nor its sizes: what is left is the rate that it allows.
    found = None if sample and sample.put_off > MUCH else sample or pace
    measured = found.galaxies_per_s if found else None
    attempts = max(1.0, found.attempts_per_galaxy) if found else 1.0
    if source.images or survey.cutout is None:
        return measured, False, attempts
    allowed = survey.cutout.rate / attempts
    if measured is None or measured >= 0.9 * allowed:
        return allowed, True, attempts
    return measured, False, attempts


def _asked(source: IngestSource, survey: Survey) -> str:
    if source.images:
        return "tiles" if survey.mosaic is not None else "files"
    return f"service {survey.cutout.service}, at most {survey.cutout.rate:g} requests a second" if survey.cutout else ""
