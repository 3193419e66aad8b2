"""What earlier runs left in the store: files, tags, and how to find them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gzflow.settings import Settings
from gzflow.tracking.client import PREFIX, connect, tracking_errors

if TYPE_CHECKING:
    from mlflow.entities import RunData


def read_artifact(settings: Settings, run_id: str, name: str) -> bytes | None:
    """Content of a file that a run keeps, for instance ``scores.parquet``; None if it keeps none of that name.

    Raises
    ------
    TrackingError
        The run is not there, or the store cannot be reached.
    """
    client = connect(settings)
    folder = name.rpartition("/")[0]
    with tracking_errors(f"fetch {name} of run {run_id}", settings), TemporaryDirectory() as temporary:
        if name not in {file.path for file in client.list_artifacts(run_id, folder or None)}:
            return None
        return Path(client.download_artifacts(run_id, name, temporary)).read_bytes()


def run_tags(settings: Settings, run_id: str) -> dict[str, str]:
    """Tags of a run; raises as `read_artifact` does."""
    return dict(_data(settings, run_id).tags)


def run_metrics(settings: Settings, run_id: str) -> dict[str, float]:
    """The last value of each of a run's metrics; raises as `read_artifact` does."""
    return dict(_data(settings, run_id).metrics)


def _data(settings: Settings, run_id: str) -> RunData:
    client = connect(settings)
    with tracking_errors(f"look up run {run_id}", settings):
        return client.get_run(run_id).data


def run_with_tag(settings: Settings, survey: str, tag: str, value: str) -> str | None:
    """Id of the survey's run that carries a tag, or None; runs that were deleted do not count."""
    client = connect(settings)
    with tracking_errors("look for a run", settings):
        experiment = client.get_experiment_by_name(f"{PREFIX}{survey}")
        if experiment is None:
            return None
        found = client.search_runs([experiment.experiment_id], filter_string=f"tags.`{tag}` = '{value}'")
        return str(found[0].info.run_id) if found else None
