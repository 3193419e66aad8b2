"""Cancelled, killed, orphaned: a training under a real server and worker leaves nothing behind and goes on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from gzflow.settings import Settings
from gzflow.simulation.survey import SimulatedSurvey
from gzflow.training.config import TrainConfig
from tests.flows.prefect_server import PrefectServer, wait_for
from tests.flows.webhook import Inbox

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PATIENCE_S = 240
"""Processes start slowly on a machine that has much to do."""

CONFIG = TrainConfig(epochs=10, patience=10, lr=3e-4, seed=7, batch_size=8)
PIXELS = 32
REFERENCE = """
import sys
from gzflow.settings import Settings
from gzflow.stages import train
from gzflow.training.config import TrainConfig
settings = Settings.load({"GZFLOW_HOME": sys.argv[1]})
chunk = train.plan("decals", settings, pixels=None, config=TrainConfig.model_validate_json(sys.argv[2]))
print(train.run_chunk(chunk, settings).folder)
"""
"""The same training with nobody to disturb it, in a process like the flow's."""


@pytest.fixture(scope="module")
def drawn() -> SimulatedSurvey:
    return SimulatedSurvey.draw("decals", 140, 3, pixels=PIXELS)


@pytest.fixture(scope="module")
def settings(server: PrefectServer, drawn: SimulatedSurvey, write_shards) -> Settings:
    settings = Settings.load(server.env)
    write_shards(settings, drawn, "decals", {"train": 100, "validation": 20, "test": 20})
    return settings


@pytest.fixture(scope="module")
def train(server: PrefectServer, settings: Settings) -> str:
    return server.deploy("flows/train.py:train", "decals", "cpu", survey="decals")


def mlflow_run(settings: Settings, flow_run: str):
    """The MLflow run of a flow run's training, None before there is one."""
    from gzflow.tracking.client import connect

    client = connect(settings)
    experiments = [one.experiment_id for one in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`prefect.flow_run_id` = '{flow_run}'")
    trained = [run for run in found if run.data.tags.get("gzflow.kind") != "evaluation"]
    return trained[0] if trained else None


def epochs(settings: Settings, flow_run: str) -> int:
    """Epochs that MLflow has heard of."""
    from gzflow.tracking.client import connect

    run = mlflow_run(settings, flow_run)
    return len(connect(settings).get_metric_history(run.info.run_id, "val/loss")) if run else 0


def after_epochs(server: PrefectServer, settings: Settings, flow_run: str, n: int) -> None:
    """Wait until the training has come so far and goes on."""

    def look() -> bool:
        state = server.flow_run(flow_run)
        assert state["state_type"] not in {"FAILED", "COMPLETED"}, server.logs(flow_run)
        return epochs(settings, flow_run) >= n and state["state_type"] == "RUNNING"

    wait_for(look, PATIENCE_S, f"{n} epochs of {flow_run}")


def status(settings: Settings, flow_run: str) -> str:
    return str(mlflow_run(settings, flow_run).info.status)


def retry(server: PrefectServer, flow_run: str) -> None:
    server.run("prefect", "flow-run", "retry", flow_run)


def test_a_cancellation_stops_training_within_ten_seconds(
    server: PrefectServer, settings: Settings, train: str
) -> None:
    seconds: list[float] = []
    while not seconds or (min(seconds) > 10 and len(seconds) < 3):  # other work on the machine may delay one or two
        config = CONFIG.model_copy(update={"epochs": 400, "patience": 400, "seed": len(seconds)})
        run = server.submit(train, config=config.model_dump(mode="json"))
        after_epochs(server, settings, run, 1)
        process = server.flow_process(run)
        assert process is not None
        begun = time.monotonic()
        server.post(f"flow_runs/{run}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})
        wait_for(lambda run=run: status(settings, run) == "KILLED", PATIENCE_S, "the MLflow run is KILLED", every=0.05)
        seconds.append(time.monotonic() - begun)
    assert min(seconds) <= 10, seconds
    trained = epochs(settings, run)
    server.wait_for_state(run, "CANCELLED", seconds=PATIENCE_S)
    assert not process.is_running()
    assert epochs(settings, run) == trained
    assert server.processes(PREFECT__FLOW_RUN_ID=run) == []


def test_a_killed_training_is_crashed_told_once_and_finished_by_a_retry(
    server: PrefectServer, settings: Settings, train: str, told: Inbox, drawn, write_shards, tmp_path: Path
) -> None:
    run = server.submit(train, config=CONFIG.model_dump(mode="json"))

    # The flow's process: the worker reports it.
    after_epochs(server, settings, run, 1)
    os.kill(server.flow_process(run).pid, signal.SIGKILL)
    server.wait_for_state(run, "CRASHED", seconds=PATIENCE_S)
    wait_for(lambda: status(settings, run) == "KILLED", PATIENCE_S, "the MLflow run is KILLED")
    wait_for(lambda: not server.processes(PREFECT__FLOW_RUN_ID=run), PATIENCE_S, "no orphan")
    (first,) = wait_for(lambda: told.about(run, "prefect.flow-run.Crashed"), PATIENCE_S, "somebody was told")
    assert (first["run"], first["state"]) == ("train-decals", "Crashed")
    assert "-9" in first["message"]
    assert first["link"] == f"{server.ui}/runs/flow-run/{run}"

    # The worker: the flow's process sees that it is alone.
    retry(server, run)
    after_epochs(server, settings, run, 3)
    (worker,) = [one for one in server.workers if one.poll() is None]
    worker.kill()
    server.wait_for_state(run, "CRASHED", seconds=PATIENCE_S)
    wait_for(lambda: status(settings, run) == "KILLED", PATIENCE_S, "the MLflow run is KILLED")
    wait_for(lambda: not server.processes(PREFECT__FLOW_RUN_ID=run), PATIENCE_S, "no orphan")
    server.worker("cpu")

    # Both: nobody is left to report it but the server itself, which misses the heartbeat.
    retry(server, run)
    after_epochs(server, settings, run, 5)
    (worker,) = [one for one in server.workers if one.poll() is None]
    process = server.flow_process(run)
    worker.kill()
    process.kill()
    time.sleep(2)
    wait_for(lambda: not server.processes(PREFECT__FLOW_RUN_ID=run), PATIENCE_S, "no orphan")
    assert server.state(run) == "RUNNING"
    server.worker("cpu")
    server.wait_for_state(run, "CRASHED", seconds=2 * PATIENCE_S)
    assert "No heartbeat" in server.flow_run(run)["state"]["message"]
    wait_for(lambda: status(settings, run) == "KILLED", PATIENCE_S, "the sweep has ended the MLflow run")

    retry(server, run)
    server.wait_for_state(run, "COMPLETED", seconds=2 * PATIENCE_S)
    assert status(settings, run) == "FINISHED"
    assert mlflow_run(settings, run).data.tags["prefect.flow_run_url"] == f"{server.ui}/runs/flow-run/{run}"
    assert [one["type"] for one in server.artifacts(run)].count("markdown") == 1
    crashes = [one["message"] for one in told.about(run, "prefect.flow-run.Crashed")]
    assert len(crashes) == 3, crashes

    undisturbed = Settings.load({"GZFLOW_HOME": str(tmp_path / "home")})
    write_shards(undisturbed, drawn, "decals", {"train": 100, "validation": 20, "test": 20})
    folder = Path(server.python(REFERENCE, str(undisturbed.home), CONFIG.model_dump_json()).split()[-1])
    expected = (folder / "model" / "model.safetensors").read_bytes()
    assert (settings.training("decals") / folder.name / "model" / "model.safetensors").read_bytes() == expected
