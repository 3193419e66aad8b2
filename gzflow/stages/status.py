"""Status: how far each survey has come, read from the store and the manifests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import make_url

from gzflow.catalog.store import CatalogStore
from gzflow.settings import Settings
from gzflow.shards.header import MANIFEST


@dataclass(frozen=True)
class SurveyStatus:
    """One survey.

    Attributes
    ----------
    images
        Galaxies by the state of their cutout.
    reasons
        Failures by reason.
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


def status(settings: Settings, survey: str | None = None) -> list[SurveyStatus]:
    """Every survey in the store, or one; nothing is created by looking."""
    url = make_url(settings.catalog_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return []
    with CatalogStore(settings.catalog_url) as store:
        names = [name for name in store.survey_names() if survey in {None, name}]
        return [_one(store, settings, name) for name in names]


def _one(store: CatalogStore, settings: Settings, survey: str) -> SurveyStatus:
    counts = store.counts(survey)
    failures = store.failures(survey)
    return SurveyStatus(
        survey=survey,
        galaxies=counts["galaxies"],
        images={state: counts[state] for state in ("done", "to-do", "no-coverage", "failed")},
        reasons=dict(sorted(failures["reason"].value_counts().iter_rows())) if len(failures) else {},
        shards=_sizes(settings.home / "shards" / survey),
        predictions=_sizes(settings.predictions(survey)),
    )


def _sizes(folder: Path) -> dict[str, int]:
    """Galaxies by folder, for each finished set under `folder`; a set without its manifest is unfinished."""
    sizes = {}
    for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
        entries = json.loads(manifest.read_text("utf-8"))["entries"]
        sizes[manifest.parent.name] = sum(entry["n"] for entry in entries)
    return sizes
