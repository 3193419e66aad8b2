"""The demo's simulated sky, in place of a survey of which nothing is here yet."""

from __future__ import annotations

import logging

from gzflow.catalog.store import CatalogStore
from gzflow.settings import Settings
from gzflow.shards.header import MANIFEST
from gzflow.surveys import load_survey

logger = logging.getLogger(__name__)


def stand_in(survey_name: str, settings: Settings) -> str:
    """The survey as it was named or, as long as nothing of it was ingested, the latest simulated sky that imitates it.

    A simulated sky is a survey of its own name, in the store as in shards, models and predictions: its galaxies never
    meet real ones, and it stands in for nobody once the first real galaxy is here.
    """
    name = load_survey(survey_name).name
    with CatalogStore(settings.catalog_url) as store:
        if name in store.survey_names():
            return survey_name
    skies = [
        toml
        for toml in settings.simulated.glob(f"*/{name}-sim*.toml")
        if any((settings.home / "shards" / toml.stem).glob(f"*/{MANIFEST}"))
    ]
    if not skies:
        return survey_name
    latest = max(skies, key=lambda toml: toml.stat().st_mtime)
    logger.warning("%s: nothing was ingested yet; the demo's simulated sky %s stands in for it", name, latest.stem)
    return str(latest)
