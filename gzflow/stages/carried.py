"""What the store knows of galaxies beside votes: the columns that their survey carries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from gzflow.catalog.store import CatalogStore
from gzflow.settings import Settings


def carried_columns(survey: str, ids: Sequence[str], settings: Settings) -> dict[str, list[Any]]:
    """Values by column, in the order of `ids`, of columns of numbers and text with a value at all; no arrays.

    Empty where nothing of the survey was ingested here; nothing is created by looking.
    """
    url = make_url(settings.catalog_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return {}
    with CatalogStore(settings.catalog_url) as store:
        if survey not in store.survey_names():
            return {}
        rows = store.galaxies(survey, ids)
    known = {id_str: json.loads(text) for id_str, text in rows.select("id_str", "carried").iter_rows()}
    names = dict.fromkeys(name for one in known.values() for name in one)
    columns = {name: [known.get(id_str, {}).get(name) for id_str in ids] for name in names}
    return {
        name: values
        for name, values in columns.items()
        if not any(isinstance(value, list) for value in values) and any(value is not None for value in values)
    }
