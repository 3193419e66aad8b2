"""Status: how far each survey has come, read from the store and the manifests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import make_url

from gzflow.catalog.store import CatalogStore
from gzflow.durable import write_bytes
from gzflow.errors import StoreError
from gzflow.settings import Settings, without_password
from gzflow.shards.header import MANIFEST
from gzflow.stages.pace import Pace, latest_pace


@dataclass(frozen=True)
class SurveyStatus:
    """One survey.

    Attributes
    ----------
    images
        Galaxies by the state of their cutout.
    reasons
        Failures by reason.
    pace
        Of the latest run over its images; None where the ledger is too short to tell.
    shards
        Galaxies in each finished shard set, by the set's name.
    predictions
        Galaxies in each finished prediction run, by the run's name.
    """

    survey: str
    galaxies: int
    images: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    shards: dict[str, int] = field(default_factory=dict)
    predictions: dict[str, int] = field(default_factory=dict)
    pace: Pace | None = None

    @property
    def seconds_left(self) -> float | None:
        """Until no image is to do, at that pace."""
        return self.pace.seconds(self.images["to-do"]) if self.pace else None


def status(settings: Settings, survey: str | None = None) -> list[SurveyStatus]:
    """Every survey in the store, or one; nothing is created by looking.

    Raises
    ------
    StoreError
        The one survey was never ingested.
    """
    url = make_url(settings.catalog_url)
    names: list[str] = []
    found: list[SurveyStatus] = []
    if url.get_backend_name() != "sqlite" or Path(url.database or "").exists():
        with CatalogStore(settings.catalog_url) as store:
            names = store.survey_names()
            found = [_one(store, settings, name) for name in names if survey in {None, name}]
    if survey is not None and not found:
        raise StoreError(
            f"survey {survey!r} is not in the catalog store",
            where=without_password(settings.catalog_url),
            expected=f"one of {', '.join(sorted(names))}" if names else "an ingested survey; there is none yet",
            fix=f"correct the name, or run `gzflow ingest {survey} --catalog FILE` first",
        )
    return found


def export_failures(settings: Settings, survey: str, file: Path) -> int:
    """Write the failure table of a survey as CSV, whole or not at all; how many rows it has.

    Columns are ``survey, stage, id_str, reason, detail, at`` (UTC). Rows are sorted by stage, id and reason.

    Raises
    ------
    StoreError
        The survey was never ingested.
    """
    with CatalogStore(settings.catalog_url) as store:
        store.galaxies(survey, ids=[])  # an unknown name is an error, and no empty table
        failures = store.failures(survey)
    # Not by the frame's own writer: its errors do not name the file.
    write_bytes(file, failures.write_csv().encode())
    return len(failures)


def _one(store: CatalogStore, settings: Settings, survey: str) -> SurveyStatus:
    counts = store.counts(survey)
    return SurveyStatus(
        survey=survey,
        galaxies=counts["galaxies"],
        images={state: counts[state] for state in ("done", "to-do", "no-coverage", "failed")},
        reasons=store.failure_reasons(survey),
        shards=_sizes(settings.home / "shards" / survey),
        predictions=_sizes(settings.predictions(survey)),
        pace=latest_pace(store.cutout_times(survey)),
    )


def _sizes(folder: Path) -> dict[str, int]:
    """Galaxies by folder, for each finished set under `folder`; a set without its manifest is unfinished."""
    sizes = {}
    for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
        entries = json.loads(manifest.read_text("utf-8"))["entries"]
        sizes[manifest.parent.name] = sum(entry["n"] for entry in entries)
    return sizes
