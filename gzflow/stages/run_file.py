"""Which MLflow run a folder belongs to, known at every moment: a run is never begun twice for one folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from gzflow.durable import write_json
from gzflow.settings import Settings, without_password
from gzflow.tracking.artifacts import run_with_tag
from gzflow.tracking.run import Lineage, TrackedRun

RUN = "mlflow-run.json"
"""``key`` and, once it was begun, for people: ``tracking_uri`` and ``run_id``."""
KEY = "gzflow.run_key"
"""The tag by which a run is found again that was begun and not written down."""


@contextmanager
def folder_run(
    folder: Path,
    settings: Settings,
    survey: str,
    *,
    name: str,
    lineage: Lineage,
    tags: Mapping[str, str],
    parent_run_id: str | None = None,
) -> Iterator[TrackedRun]:
    """The folder's run, begun or gone on with, and written down; hold the folder's lock meanwhile.

    Parameters
    ----------
    name, lineage, tags, parent_run_id
        See `TrackedRun`.
    """
    claimed = claim_run(folder, settings, survey)
    with TrackedRun(
        settings,
        survey,
        name=name,
        lineage=lineage,
        tags={**tags, **claimed.tags},
        run_id=claimed.run_id,
        parent_run_id=parent_run_id,
        folder=folder,
    ) as run:
        note_run(folder, run, claimed.tags[KEY])
        yield run


class ClaimedRun(NamedTuple):
    """The run to go on with (None: begin one) and the tags that tie it to its folder."""

    run_id: str | None
    tags: dict[str, str]


def claim_run(folder: Path, settings: Settings, survey: str) -> ClaimedRun:
    """The run that the folder has in the settings' store; hold the folder's lock meanwhile.

    The key is on disk before the run is begun, and the run carries it as a tag from its first moment: killed in
    between, it is found by that. Only the store itself knows whether it has a run of the key: the same one goes by
    several addresses (its database, its server, another port), and an address may lead to one that was emptied.
    """
    if (key := _key(folder)) is not None:
        return ClaimedRun(run_with_tag(settings, survey, KEY, key), {KEY: key})
    key = uuid4().hex
    write_json(folder / RUN, {"key": key})
    return ClaimedRun(None, {KEY: key})


def note_run(folder: Path, run: TrackedRun, key: str) -> None:
    """Write down the run that was begun, for readers of the folder."""
    write_json(folder / RUN, {"key": key, "tracking_uri": place(run.settings), "run_id": run.id})


def noted_run(folder: Path, settings: Settings, survey: str) -> str | None:
    """Id of the run that made what is in the folder, if it is in the settings' store."""
    key = _key(folder)
    return run_with_tag(settings, survey, KEY, key) if key else None


def _key(folder: Path) -> str | None:
    path = folder / RUN
    return json.loads(path.read_text("utf-8")).get("key") if path.is_file() else None


def place(settings: Settings) -> str:
    """The store, without user and password."""
    return without_password(settings.tracking_uri).rsplit("@", 1)[-1]
