"""All versions of a survey's model at a glance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from gzflow.settings import Settings
from gzflow.tracking.client import ABSENT, PREFIX, connect, tracking_errors
from gzflow.tracking.decision import LoggedDecision
from gzflow.tracking.run import PARENT_TAG
from gzflow.tracking.succession import DECISION, Succession


@dataclass(frozen=True)
class VersionRow:
    """One registered version.

    Attributes
    ----------
    aliases
        Those it carries now.
    made
        UTC.
    run_id, run
        Of the run that made it: id and name; None where it is not known or gone.
    parent
        URI of the model that it was fine-tuned from.
    scores
        The run's metrics: ``test/nll``, ``test/skill``, ``test/coverage90``, ``test/galaxies`` and others.
    decision
        The latest about it, in words.
    """

    version: str
    aliases: tuple[str, ...]
    made: datetime
    run_id: str | None
    run: str | None
    parent: str | None
    scores: dict[str, float]
    decision: str


def list_versions(settings: Settings, survey: str) -> tuple[list[VersionRow], list[LoggedDecision]]:
    """Versions of ``gzflow-<survey>``, the newest first, and all decisions, the oldest first; empty without a model.

    Raises
    ------
    TrackingError
        The store cannot be reached.
    """
    from mlflow.exceptions import MlflowException

    client, name = connect(settings), f"{PREFIX}{survey}"
    with tracking_errors("list the versions", settings):
        try:
            aliases = client.get_registered_model(name).aliases
        except MlflowException as error:
            if error.error_code in ABSENT:
                return [], []
            raise
        rows = []
        for found in client.search_model_versions(f"name = '{name}'"):
            try:
                run = client.get_run(found.run_id) if found.run_id else None
            except MlflowException as error:
                if error.error_code not in ABSENT:
                    raise
                run = None
            row = VersionRow(
                version=str(found.version),
                aliases=tuple(
                    sorted(alias for alias, version in aliases.items() if str(version) == str(found.version))
                ),
                made=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
                run_id=run.info.run_id if run else None,
                run=run.info.run_name if run else None,
                parent=found.tags.get(PARENT_TAG),
                scores=dict(run.data.metrics) if run else {},
                decision=found.tags.get(DECISION, ""),
            )
            rows.append(row)
    rows.sort(key=lambda row: -int(row.version))
    return rows, Succession(client, settings, survey).history()
