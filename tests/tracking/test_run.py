from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest

from gzflow.errors import TrackingError
from gzflow.settings import Settings
from gzflow.tracking.client import connect
from gzflow.tracking.orphans import end_orphans
from gzflow.tracking.run import Lineage, TrackedRun, run_page


def status_of(settings: Settings, run_id: str) -> str:
    return str(connect(settings).get_run(run_id).info.status)


def test_a_run_holds_all_that_it_was_given(settings: Settings) -> None:
    lineage = Lineage(
        tree_fingerprint="t" * 16,
        shard_fingerprint="s" * 16,
        parent_model="models:/gzflow-gz2/3",
        flow_run_id="f-1",
        flow_run_url="http://127.0.0.1:4200/runs/f-1",
    )
    with TrackedRun(settings, "toy", name="first", lineage=lineage) as run:
        run.log_params({"encoder": "efficientnet_b0", "optimiser": {"lr": 0.001}})
        for epoch in range(3):
            run.log_metrics({"train_loss": 9.0 - epoch, "validation_nll/arms": 2.0}, step=epoch)
        run.log_dataset("toy", "s" * 16, "/data/shards", context="train", profile={"galaxies": 70})
        run.log_bytes("figures/loss.png", b"\x89PNG")
        run.log_table("tables/scores.json", ["question", "n"], [["shape", 12], ["arms", 5]])
        run.log_json("config.json", {"seed": 42})
    client = connect(settings)
    stored = client.get_run(run.id)
    assert stored.info.status == "FINISHED"
    assert stored.info.run_name == "first"
    assert client.get_experiment(run.experiment_id).name == "gzflow-toy"
    assert stored.data.params == {"encoder": "efficientnet_b0", "optimiser.lr": "0.001"}
    assert [(m.step, m.value) for m in client.get_metric_history(run.id, "train/loss")] == [(0, 9), (1, 8), (2, 7)]
    assert stored.data.metrics["val/nll/arms"] == 2.0
    for tag, value in {
        "gzflow.survey": "toy",
        "gzflow.tree_fingerprint": "t" * 16,
        "gzflow.shard_fingerprint": "s" * 16,
        "gzflow.parent_model": "models:/gzflow-gz2/3",
        "prefect.flow_run_id": "f-1",
        "prefect.flow_run_url": "http://127.0.0.1:4200/runs/f-1",
        "mlflow.note.content": "Made by [this flow run](http://127.0.0.1:4200/runs/f-1).",
    }.items():
        assert stored.data.tags[tag] == value
    assert "gzflow.version" in stored.data.tags
    (dataset,) = stored.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("toy", "s" * 16)
    assert json.loads(dataset.dataset.profile) == {"galaxies": 70}
    folder = Path(client.download_artifacts(run.id, ""))
    assert folder.is_relative_to(settings.artifact_root / "gzflow-toy")
    assert (folder / "figures" / "loss.png").read_bytes() == b"\x89PNG"
    assert json.loads((folder / "tables" / "scores.json").read_text())["data"] == [["shape", 12], ["arms", 5]]


def test_more_than_a_request_holds_is_sent_in_several(settings: Settings) -> None:
    with TrackedRun(settings, "toy") as run:
        run.log_metrics({f"validation_nll/q{i}": float(i) for i in range(1500)})
        run.log_params({f"p{i}": i for i in range(250)})
    data = connect(settings).get_run(run.id).data
    assert len(data.metrics) == 1500
    assert len(data.params) == 250


class Signal(BaseException):
    """As an orchestrator raises when it cancels."""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("loss is not finite"), "FAILED"),
        (TrackingError("x"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(3), "KILLED"),
        (asyncio.CancelledError(), "KILLED"),
        (Signal(), "KILLED"),
    ],
)
def test_how_a_run_ends_says_why(settings: Settings, error: BaseException, status: str) -> None:
    run = TrackedRun(settings, "toy")
    with pytest.raises(type(error)), run:
        raise error
    stored = connect(settings).get_run(run.id)
    assert stored.info.status == status
    assert stored.data.tags["gzflow.error"].startswith(type(error).__name__)


def test_an_error_is_not_hidden_by_a_store_that_went_away(settings: Settings, caplog, monkeypatch) -> None:
    def gone(*arguments: object) -> None:
        raise mlflow.MlflowException("the database is gone")

    def lost() -> None:
        with TrackedRun(settings, "toy", patience_s=0) as run:
            monkeypatch.setattr(run.client, "set_terminated", gone)
            raise ValueError("the real cause")

    with pytest.raises(ValueError, match="the real cause"):
        lost()
    assert "could not be marked FAILED" in caplog.text


def test_a_run_whose_kept_metrics_are_refused_has_failed(settings: Settings, monkeypatch) -> None:
    run = TrackedRun(settings, "toy", patience_s=0)

    def work() -> None:
        with run:
            away, refused = (mlflow.MlflowException("no", code) for code in (1, 1000))  # INTERNAL_ERROR, INVALID_...
            answers = iter([away, refused])

            def send(*arguments: object, **more: object) -> None:
                raise next(answers)

            monkeypatch.setattr(run.client, "log_batch", send)
            run.log_metrics({"train_loss": 1.0})

    with pytest.raises(TrackingError, match="log metrics"):
        work()
    stored = connect(settings).get_run(run.id)
    assert stored.info.status == "FAILED"
    assert "log metrics" in stored.data.tags["gzflow.error"]


def test_results_are_logged_once(settings: Settings) -> None:
    with TrackedRun(settings, "toy") as run:
        run.log_results({"test/nll": 3.0, "test/gain": float("nan")}, step=4)
    with TrackedRun(settings, "toy", run_id=run.id) as again:
        again.log_results({"test/nll": 3.0, "test/gain": float("nan"), "test/skill": 0.5}, step=4)
    client = connect(settings)
    points = {key: len(client.get_metric_history(run.id, key)) for key in client.get_run(run.id).data.metrics}
    assert set(points.values()) == {1}
    assert len(points) == 3
    with TrackedRun(settings, "toy", run_id=run.id) as other:
        other.log_results({"test/nll": 2.0}, step=4)
    assert client.get_run(run.id).data.metrics["test/nll"] == 2.0


def test_a_page_is_at_the_servers_present_address(settings: Settings, monkeypatch) -> None:
    from gzflow.tracking import run as module

    with TrackedRun(settings, "toy") as run:
        assert run.url is None
    assert run_page(settings, run.id) is None
    moved = Settings.load({"MLFLOW_TRACKING_URI": "http://127.0.0.1:5999/"}, home=settings.home)
    monkeypatch.setattr(module, "connect", lambda _: connect(settings))
    page = f"http://127.0.0.1:5999/#/experiments/{run.experiment_id}/runs/{run.id}"
    assert run_page(moved, run.id) == page


def test_a_run_is_continued(settings: Settings) -> None:
    with TrackedRun(settings, "toy") as run:
        run.log_params({"seed": 42})
        run.log_metrics({"train_loss": 3.0}, step=0)
    with TrackedRun(settings, "toy", run_id=run.id) as again:
        assert status_of(settings, run.id) == "RUNNING"
        again.log_params({"seed": 42})
        again.log_metrics({"train_loss": 2.0}, step=1)
    assert status_of(settings, run.id) == "FINISHED"
    assert len(connect(settings).get_metric_history(run.id, "train/loss")) == 2


def test_a_run_is_not_continued_for_another_survey_nor_with_other_parameters(settings: Settings) -> None:
    with TrackedRun(settings, "toy") as run:
        run.log_params({"seed": 42})
    with (
        pytest.raises(TrackingError, match="is not one of survey 'rings'"),
        TrackedRun(settings, "rings", run_id=run.id),
    ):
        pass
    with (
        pytest.raises(TrackingError, match="could not log parameters"),
        TrackedRun(settings, "toy", run_id=run.id) as other,
    ):
        other.log_params({"seed": 43})


def test_a_run_that_does_not_exist_is_said(settings: Settings) -> None:
    with pytest.raises(TrackingError, match="start the run"), TrackedRun(settings, "toy", run_id="f" * 32):
        pass


def test_a_run_must_be_entered(settings: Settings) -> None:
    with pytest.raises(TrackingError, match="has not started"):
        TrackedRun(settings, "toy").log_metrics({"x": 1.0})


def test_a_deleted_experiment_is_explained(settings: Settings) -> None:
    with TrackedRun(settings, "toy") as run:
        pass
    connect(settings).delete_experiment(run.experiment_id)
    with pytest.raises(TrackingError, match="was deleted") as caught, TrackedRun(settings, "toy"):
        pass
    assert "mlflow experiments restore" in str(caught.value)


def test_threads_hold_runs_of_their_own_and_no_global_run_appears(settings: Settings) -> None:
    def one(n: int) -> tuple[int, str]:
        with TrackedRun(settings, f"toy{n % 2}") as run:
            for step in range(5):
                run.log_metrics({"train_loss": float(n)}, step=step)
        return n, run.id

    before = mlflow.get_tracking_uri()
    with ThreadPoolExecutor(4) as pool:
        runs = dict(pool.map(one, range(6)))
    assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() == before
    client = connect(settings)
    for n, run_id in runs.items():
        assert {m.value for m in client.get_metric_history(run_id, "train/loss")} == {float(n)}


def test_runs_of_a_dead_flow_are_ended_and_no_others(settings: Settings) -> None:
    client = connect(settings)
    assert end_orphans(settings, "flow-1") == []
    experiment = client.create_experiment("gzflow-toy")
    orphan = client.create_run(experiment, tags={"prefect.flow_run_id": "flow-1"}).info.run_id
    alive = client.create_run(experiment, tags={"prefect.flow_run_id": "flow-2"}).info.run_id
    with TrackedRun(settings, "toy", lineage=Lineage(flow_run_id="flow-1")) as done:
        pass
    assert end_orphans(settings, "flow-1") == [orphan]
    assert [status_of(settings, run) for run in (orphan, alive, done.id)] == ["KILLED", "RUNNING", "FINISHED"]
