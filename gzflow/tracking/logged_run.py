"""A run as the store remembers it, found by whatever name people have for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gzflow.errors import TrackingError
from gzflow.settings import Settings, without_password
from gzflow.tracking.client import ABSENT, PREFIX, connect, is_server, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FORMS = (
    "a run's id or its first characters, a run's name, models:/gzflow-SURVEY/VERSION, SURVEY/VERSION or SURVEY@ALIAS"
)
_MODEL = re.compile(rf"(?:models:/)?(?:{PREFIX})?(?P<survey>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")


@dataclass(frozen=True)
class LoggedRun:
    """What a run logged.

    Attributes
    ----------
    survey
        Short name; empty for a run that gzflow did not start.
    started
        UTC.
    datasets
        By context ("train", "validation", "test"): name and digest of what went in.
    versions
        Registered versions that it made, as ``gzflow-<survey>/<version>``.
    url
        The run's page, where a server shows one.
    """

    id: str
    name: str
    survey: str
    status: str
    started: datetime
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    datasets: Mapping[str, str]
    versions: tuple[str, ...]
    url: str | None


def find_run(settings: Settings, reference: str) -> LoggedRun:
    """The run that a reference names; `FORMS` says which there are. A model version stands for the run that made it.

    Raises
    ------
    TrackingError
        There is none, or there are several.
    """
    client = connect(settings)
    if (named := _MODEL.fullmatch(reference)) is not None:
        return _logged(client, _run_of_version(client, settings, reference, **named.groupdict()), settings)
    with tracking_errors("look for a run", settings):
        experiments = [
            found.experiment_id for found in client.search_experiments(filter_string=f"name LIKE '{PREFIX}%'")
        ]
        filters = []
        if re.fullmatch(r"[0-9a-f]{4,32}", reference):
            filters.append(f"attributes.run_id LIKE '{reference}%'")
        if "'" not in reference:
            filters.append(f"attributes.run_name = '{reference}'")
        found = {
            run.info.run_id: run
            for condition in filters
            for run in (client.search_runs(experiments, filter_string=condition) if experiments else [])
        }
    if len(found) == 1:
        return _logged(client, found.popitem()[1], settings)
    raise TrackingError(
        f"{len(found)} runs go by {reference!r}" if found else f"no run goes by {reference!r}",
        where=without_password(settings.tracking_uri),
        problems=[
            f"{run.info.run_id}  {run.info.run_name}, {_moment(run):%Y-%m-%d %H:%M} UTC" for run in found.values()
        ],
        expected=FORMS,
        fix="name one by its id" if found else "`gzflow models SURVEY` lists versions with their runs",
    )


def _run_of_version(
    client: MlflowClient, settings: Settings, reference: str, survey: str, version: str | None, alias: str | None
) -> Run:
    from mlflow.exceptions import MlflowException

    name = f"{PREFIX}{survey}"
    with tracking_errors("look up a model version", settings):
        try:
            made = (
                client.get_model_version(name, version)
                if version is not None
                else client.get_model_version_by_alias(name, alias)
            )
            if made.run_id:
                return client.get_run(made.run_id)
            problem = f"no run is known that made {reference!r}"
        except MlflowException as error:
            if error.error_code not in ABSENT:
                raise
            problem = f"there is no model version {reference!r}, or its run is gone"
    raise TrackingError(
        problem,
        where=without_password(settings.tracking_uri),
        expected=FORMS,
        fix=f"`gzflow models {survey}` lists versions, aliases and runs",
    )


def _logged(client: MlflowClient, run: Run, settings: Settings) -> LoggedRun:
    info, page = run.info, None
    with tracking_errors("look up a run", settings):
        versions = client.search_model_versions(f"run_id = '{info.run_id}'")
    if is_server(settings.tracking_uri):
        home = without_password(settings.tracking_uri).rstrip("/")
        page = f"{home}/#/experiments/{info.experiment_id}/runs/{info.run_id}"
    return LoggedRun(
        id=info.run_id,
        name=info.run_name or info.run_id[:8],
        survey=run.data.tags.get("gzflow.survey", ""),
        status=info.status,
        started=_moment(run),
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        tags=dict(run.data.tags),
        datasets=dict(_datasets(run)),
        versions=tuple(sorted(f"{found.name}/{found.version}" for found in versions)),
        url=page,
    )


def _datasets(run: Run) -> list[tuple[str, str]]:
    described = []
    for entry in run.inputs.dataset_inputs if run.inputs else []:
        context = next((tag.value for tag in entry.tags if tag.key == "mlflow.data.context"), "")
        galaxies = json.loads(entry.dataset.profile or "{}").get("galaxies")
        size = "" if galaxies is None else f", {galaxies:,} galaxies"
        described.append((context, f"{entry.dataset.name}{size} ({entry.dataset.digest[:8]})"))
    return described


def _moment(run: Run) -> datetime:
    return datetime.fromtimestamp(run.info.start_time / 1000, UTC)
