"""A few galaxies of a survey really ingested, in a home that is thrown away: what an ingest of all of them is up to."""

from __future__ import annotations

import json
import random
import time
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from gzflow.catalog.read import CatalogTable
from gzflow.catalog.store import CatalogStore
from gzflow.settings import Settings
from gzflow.stages import ingest
from gzflow.stages.ingest import IngestSource
from gzflow.surveys import Survey, load_survey

PATIENCE = 20.0
"""Seconds that a sample waits for a service which fails for everyone; a real run waits as long as the survey says."""
DEADLINE = 60.0
"""Seconds for one galaxy, half of them for one request: a service that cuts slowly is no service in trouble."""


@dataclass(frozen=True)
class IngestSample:
    """What became of the galaxies of a sample.

    Attributes
    ----------
    galaxies
        In the sample.
    galaxies_per_s
        How many were finished a second, in any way, as many at a time as in a run.
    done, put_off
        Shares that got an image, and that a later run must ask for again: the service is in trouble.
    bytes_per_image
        Mean size; None without an image.
    attempts_per_galaxy
        Requests, or files looked at, a galaxy.
    troubles
        Galaxies without an image, by reason.
    example
        One of them, in words; empty where all got an image.
    """

    galaxies: int
    galaxies_per_s: float
    done: float
    put_off: float
    bytes_per_image: float | None
    attempts_per_galaxy: float
    troubles: dict[str, int]
    example: str = ""


def take_sample(
    source: IngestSource,
    settings: Settings,
    parts: Sequence[Sequence[str]],
    size: int,
    *,
    origin: Settings,
    workers: int,
) -> IngestSample:
    """Ingest `size` galaxies with nothing kept.

    Each worker has a store of its own with its part of the galaxies, and runs the chunks that ingest itself plans for
    them; what they share, such as a host's rate, they share as in a run. One galaxy a worker goes ahead: it opens
    connections and files, and its time is what the last galaxy of a run waits for.

    Parameters
    ----------
    parts
        Ids of the galaxies to choose from, chunk by chunk as a run would work on them; all in the store of `origin`.
    workers
        Chunks at a time.
    """
    survey = load_survey(source.survey)
    chosen = _chosen(parts, size + workers, contiguous=survey.mosaic is not None and bool(source.images))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="gzflow-plan-")))
        hasty = replace(source, survey=_hasty(source.survey, survey, folder), catalog=None, retry_failed=False)
        shares = [chosen[k::workers] for k in range(workers) if chosen[k::workers]]
        ahead = [_scratch(folder / f"ahead-{k}", settings) for k in range(len(shares))]
        homes = [_scratch(folder / f"worker-{k}", settings) for k in range(len(shares))]
        with CatalogStore(origin.catalog_url) as store:
            for ids_, first, home in zip(shares, ahead, homes, strict=True):
                _copy(store, survey, ids_[:1], first)
                _copy(store, survey, ids_[1:] or ids_[:1], home)
        waited = _timed(hasty, ahead)
        seconds = _timed(hasty, homes)
        ledgers = []
        for home in homes:
            with CatalogStore(home.catalog_url) as store:
                ledgers.append(store.cutouts(survey.name))
    ledger = pl.concat(ledgers)
    done = ledger.filter(pl.col("state") == "done")
    missing = ledger.filter(pl.col("state") != "done")
    return IngestSample(
        galaxies=len(ledger),
        # The last galaxies of a short sample are waited for as long as those of a long run.
        galaxies_per_s=len(ledger) / max(seconds - min(waited, seconds / 2), 1e-6),
        done=len(done) / len(ledger),
        put_off=len(ledger.filter(pl.col("state") == "to-do")) / len(ledger),
        bytes_per_image=float(done["bytes"].sum()) / len(done) if len(done) else None,
        attempts_per_galaxy=int(ledger["attempts"].sum()) / len(ledger),
        troubles=dict(sorted(missing["reason"].value_counts().iter_rows())) if len(missing) else {},
        example=": ".join(str(text) for text in missing.select("id_str", "detail").row(0)) if len(missing) else "",
    )


def _chosen(parts: Sequence[Sequence[str]], size: int, *, contiguous: bool) -> list[str]:
    rng = random.Random(42)
    if contiguous:
        # A tile is opened once for all of its galaxies, so neighbours tell more than galaxies from anywhere.
        return list(max(rng.sample(parts, min(8, len(parts))), key=len)[:size])
    starts = list(accumulate((len(part) for part in parts), initial=0))
    places = sorted(rng.sample(range(starts[-1]), min(size, starts[-1])))
    return [parts[at := bisect_right(starts, place) - 1][place - starts[at]] for place in places]


def _hasty(name: str, survey: Survey, folder: Path) -> str:
    """The survey, with less patience for a service in trouble."""
    if survey.cutout is None:
        return name
    base = str(Path(name).absolute()) if Path(name).is_file() else name
    text = (
        f"[survey]\nextends = {json.dumps(base)}\nname = {json.dumps(survey.name)}\n"
        f"[cutout]\npatience = {min(PATIENCE, survey.cutout.patience)!r}\n"
        f"deadline = {min(DEADLINE, survey.cutout.deadline)!r}\n"
    )
    path = folder / f"{survey.name}.toml"
    path.write_text(text, "utf-8")
    return str(path)


def _scratch(folder: Path, settings: Settings) -> Settings:
    return Settings.load({"GZFLOW_CONTACT": settings.contact or ""}, home=folder)


def _copy(store: CatalogStore, survey: Survey, ids: Sequence[str], home: Settings) -> None:
    home.home.mkdir(parents=True)
    galaxies, votes = store.galaxies(survey.name, ids=ids), store.votes(survey, ids=ids)
    table = CatalogTable(galaxies, votes, len(galaxies), 0, (), 0.0, ())
    with CatalogStore(home.catalog_url) as scratch:
        scratch.upsert_catalog(survey, table)


def _timed(source: IngestSource, homes: Sequence[Settings]) -> float:
    """Wall time in which all homes' chunks are ingested side by side, in seconds."""

    def run(home: Settings) -> None:
        for chunk in ingest.plan(source, home).chunks:
            ingest.run_chunk(chunk, home)

    start = time.perf_counter()
    with ThreadPoolExecutor(len(homes)) as pool:
        list(pool.map(run, homes))
    return time.perf_counter() - start
