"""One MLflow run, owned from its first tag to its last state."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from gzflow.errors import TrackingError, TrackingUnavailable
from gzflow.settings import Settings
from gzflow.tracking.checkout import code_tags
from gzflow.tracking.client import PREFIX, connect, is_server, tracking_errors
from gzflow.tracking.names import flat_params, metric_key
from gzflow.tracking.patience import PATIENCE_S, Patience

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
T = TypeVar("T")

KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tag of an experiment: MLflow's page opens with its runs, and not with the traces of a language model."""
LAST_WORDS_S = 5.0
"""Seconds that a run which is interrupted takes to say so."""
PARENT_TAG = "gzflow.parent_model"
FLOW_RUN_ID = "prefect.flow_run_id"
FLOW_RUN_URL = "prefect.flow_run_url"
"""Plain tags: this layer knows no orchestrator, it only notes who asked."""


@dataclass(frozen=True)
class Lineage:
    """What a run was made from.

    Attributes
    ----------
    tree_fingerprint, shard_fingerprint
        Of the decision tree and of the shard set.
    parent_model
        URI of the model that was fine-tuned.
    flow_run_id, flow_run_url
        Of the orchestrator's run, so that each page links to the other.
    """

    tree_fingerprint: str | None = None
    shard_fingerprint: str | None = None
    parent_model: str | None = None
    flow_run_id: str | None = None
    flow_run_url: str | None = None

    def tags(self) -> dict[str, str]:
        """Tags of the run; what is unknown is left out."""
        named = {
            "gzflow.tree_fingerprint": self.tree_fingerprint,
            "gzflow.shard_fingerprint": self.shard_fingerprint,
            PARENT_TAG: self.parent_model,
            FLOW_RUN_ID: self.flow_run_id,
            FLOW_RUN_URL: self.flow_run_url,
        }
        tags = {name: value for name, value in named.items() if value}
        if self.flow_run_url:
            tags["mlflow.note.content"] = f"Made by [this flow run]({self.flow_run_url})."
        return tags


class TrackedRun:
    """A context manager that owns a run of experiment ``gzflow-<survey>``.

    A clean exit ends the run FINISHED, an error FAILED (with the error as a tag), an interruption (Ctrl-C, SystemExit,
    cancellation) KILLED. The client and its store are the run's own: two threads may hold two runs.

    A server or database that goes away in the middle does not end the work: metrics are kept and sent in order once it
    is back, everything else waits for it.

    Parameters
    ----------
    settings
        Names the store; files go under ``settings.artifact_root`` unless a server keeps them.
    survey
        Short name.
    name
        Of the run; None lets MLflow choose one.
    lineage
        Becomes tags.
    run_id
        Continue this run instead of starting one.
    folder
        Where the results of the work lie, for the message when MLflow stays away.
    patience_s
        Seconds to wait for a store that went away after the run began.
    parent_run_id
        The run that this one belongs to: MLflow's page shows it below that run.

    Raises
    ------
    TrackingError
        On entering, and from every method, when MLflow refuses or, after `patience_s`, cannot be reached.
    """

    def __init__(
        self,
        settings: Settings,
        survey: str,
        *,
        name: str | None = None,
        lineage: Lineage | None = None,
        tags: Mapping[str, str] | None = None,
        run_id: str | None = None,
        parent_run_id: str | None = None,
        folder: Path | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.settings = settings
        self.patience = Patience(settings, patience_s, folder)
        self.survey = survey
        self._name = name
        self._tags = {"gzflow.survey": survey, **code_tags(), **(lineage or Lineage()).tags(), **(tags or {})}
        if parent_run_id is not None:
            self._tags["mlflow.parentRunId"] = parent_run_id
        self._run_id = run_id
        self._client: MlflowClient | None = None
        self._experiment_id = ""

    @property
    def client(self) -> MlflowClient:
        """The run's own client."""
        if self._client is None:
            raise TrackingError("the run has not started", fix="use it in a with statement")
        return self._client

    @property
    def id(self) -> str:
        """MLflow's run id."""
        if self._run_id is None:
            raise TrackingError("the run has not started", fix="use it in a with statement")
        return self._run_id

    @property
    def experiment_id(self) -> str:
        """MLflow's experiment id."""
        return self._experiment_id

    @property
    def url(self) -> str | None:
        """The run's page, where a server shows one."""
        return _page(self.settings, self._experiment_id, self.id)

    def __enter__(self) -> Self:
        self._client = connect(self.settings)
        with tracking_errors("start the run", self.settings):
            self._experiment_id = experiment(self._client, self.settings, self.survey)
            if self._run_id is None:
                started = self._client.create_run(self._experiment_id, tags=self._tags, run_name=self._name)
                self._run_id = started.info.run_id
            else:
                self._continue(self._run_id)
        return self

    def _continue(self, run_id: str) -> None:
        known = self.client.get_run(run_id)
        if known.info.experiment_id != self._experiment_id:
            raise TrackingError(
                f"run {run_id} is not one of survey {self.survey!r}",
                where=f"experiment {known.info.experiment_id}",
                expected=f"a run of experiment {PREFIX}{self.survey}",
                fix="continue the run with its own survey, or start a new one",
            )
        self.client.update_run(run_id, status="RUNNING")
        self.set_tags(self._tags)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            # What interrupts a program (Ctrl-C, exit, cancellation, an orchestrator's signal) is no Exception.
            self._end_with(error, "FAILED" if isinstance(error, Exception) else "KILLED")
            return
        try:
            self.patience.make_good()
        except TrackingError as refused:
            self._end_with(refused, "FAILED")
            raise
        self.patience.ask("end the run", lambda: self.client.set_terminated(self.id, "FINISHED"))

    def _end_with(self, error: BaseException, status: str) -> None:
        """Say why the run ended; what hinders it is logged, because `error` is what the caller must see."""

        def end() -> None:
            self.client.set_tag(self.id, "gzflow.error", f"{type(error).__name__}: {error}"[:2000])
            self.client.set_terminated(self.id, status)

        try:
            # Whoever stops a program does not wait long.
            self.patience.make_good(patience_s=0)
        except TrackingUnavailable as away:
            log.debug("run %s: metrics are lost: %s", self.id, away.what)
        except TrackingError:
            log.exception("run %s: metrics were refused", self.id)
        try:
            self.patience.ask("end the run", end, patience_s=min(LAST_WORDS_S, self.patience.patience_s))
        except TrackingError:
            log.exception("run %s could not be marked %s", self.id, status)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, replacing those of the same name."""
        from mlflow.entities import RunTag

        for part in _batches([RunTag(key, str(value)) for key, value in tags.items()], 100):
            self.patience.ask("set tags", partial(self.client.log_batch, self.id, tags=part))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters, nested ones with dots; the same value may be logged again, another one is an error."""
        from mlflow.entities import Param

        for part in _batches([Param(key, value) for key, value in flat_params(params).items()], 100):
            self.patience.ask("log parameters", partial(self.client.log_batch, self.id, params=part))

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log numbers in one request; see `metric_key` for their names. One call an epoch is what it is made for.

        Nobody waits while the store is away: the numbers are sent later, with the time of now, which makes sending them
        twice the same as once.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        values = [Metric(metric_key(name), float(value), now, step) for name, value in metrics.items()]
        for part in _batches(values, 1000):
            self.patience.keep(partial(self.client.log_batch, self.id, metrics=part))

    def log_results(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log numbers that have one point each; what the run has already, of an earlier process, is left as it is."""
        self.patience.make_good()
        known = self.patience.ask("read metrics", lambda: self.client.get_run(self.id)).data.metrics
        same = {
            name
            for name, value in metrics.items()
            if (logged := known.get(metric_key(name))) is not None
            and (logged == value or (math.isnan(logged) and math.isnan(value)))
        }
        self.log_metrics({name: value for name, value in metrics.items() if name not in same}, step)

    def log_dataset(
        self, name: str, digest: str, source: str, *, context: str, profile: Mapping[str, Any] | None = None
    ) -> None:
        """Note what data went in, without reading any of it.

        Parameters
        ----------
        name, digest
            Of the data set; the digest is at most 36 characters.
        source
            Path or URI.
        context
            What for: "train", "validation", "test", "predict".
        profile
            Counts and other small facts.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entity = Dataset(
            name=name,
            digest=digest[:36],
            source_type="local",
            source=json.dumps({"uri": str(source)}),
            profile=json.dumps(dict(profile or {}), default=str),
        )
        given = [DatasetInput(entity, [InputTag("mlflow.data.context", context)])]
        self.patience.ask("log a data set", lambda: self.client.log_inputs(self.id, datasets=given))

    def log_bytes(self, name: str, content: bytes) -> None:
        """Keep a file, for instance ``figures/loss.png``, given as bytes."""
        folder, _, file = name.rpartition("/")
        with TemporaryDirectory() as temporary:
            path = Path(temporary) / file
            path.write_bytes(content)
            self.log_file(path, folder)

    def log_text(self, name: str, text: str) -> None:
        """Keep a text file."""
        self.log_bytes(name, text.encode())

    def log_json(self, name: str, value: Any) -> None:
        """Keep a JSON file."""
        self.log_text(name, json.dumps(value, indent=2, default=str) + "\n")

    def log_table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Keep a table that MLflow's page shows as one; `name` ends in ``.json``."""
        value = {"columns": list(columns), "data": [list(row) for row in rows]}
        self.log_text(name, json.dumps(value, default=str))

    def log_file(self, path: Path, folder: str = "") -> None:
        """Keep a file, or a folder with all that is in it."""
        if path.is_dir():
            send = partial(self.client.log_artifacts, self.id, str(path), "/".join(filter(None, [folder, path.name])))
        else:
            send = partial(self.client.log_artifact, self.id, str(path), folder or None)
        self.patience.ask(f"keep {path.name}", send)

    def logged_steps(self, metric: str) -> set[int]:
        """Steps at which a metric was logged, also by an earlier process that began this run."""
        self.patience.make_good()
        key = metric_key(metric)
        history = self.patience.ask("read metrics", lambda: self.client.get_metric_history(self.id, key))
        return {one.step for one in history}


def run_exists(settings: Settings, run_id: str) -> bool:
    """Whether the store still has a run of that id that was not deleted."""
    from mlflow.exceptions import MlflowException

    client = connect(settings)
    with tracking_errors("look up a run", settings):
        try:
            return bool(client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise


def run_page(settings: Settings, run_id: str) -> str | None:
    """Page of a run of the store, where a server shows one."""
    if not is_server(settings.tracking_uri):
        return None
    client = connect(settings)
    with tracking_errors("look up a run", settings):
        return _page(settings, client.get_run(run_id).info.experiment_id, run_id)


def _page(settings: Settings, experiment_id: str, run_id: str) -> str | None:
    if not is_server(settings.tracking_uri):
        return None
    return f"{settings.tracking_uri.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


def experiment(client: MlflowClient, settings: Settings, survey: str) -> str:
    """Id of the survey's experiment, made when there is none."""
    from mlflow.exceptions import MlflowException

    name = f"{PREFIX}{survey}"
    known = client.get_experiment_by_name(name)
    if known is None:
        location = None if is_server(settings.tracking_uri) else (settings.artifact_root / name).as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=location, tags=KIND))
        except MlflowException as error:
            known = client.get_experiment_by_name(name)
            if known is None:
                raise
            log.debug("another process made experiment %s first: %s", name, error)
    if known.lifecycle_stage != "active":
        raise TrackingError(
            f"experiment {name} was deleted",
            expected="an active experiment",
            fix=f"restore it on MLflow's page or with `mlflow experiments restore -x {known.experiment_id}`",
        )
    return str(known.experiment_id)


def _batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """The values in lists of at most `size`, the most that MLflow takes in one request."""
    remaining = iter(values)
    while batch := list(islice(remaining, size)):
        yield batch
