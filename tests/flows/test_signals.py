"""SIGTERM and Ctrl-C: what is finished is kept, MLflow knows, nobody is left, and the user is told how to go on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gzflow.settings import Settings
from gzflow.tracking.client import connect

pytestmark = pytest.mark.slow
DOWN = """
[survey]
name = "down"
[catalog]
id = "id"
ra = "ra"
dec = "dec"
[cutout]
service = "legacysurvey"
url = "http://127.0.0.1:1"
pixels = 64
pixscale = 0.262
[[question]]
name = "smooth"
answers = ["yes", "no"]
"""
Started = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def sharded(rings: Path, gzflow, home: Path) -> Path:
    """The home, with shards of the user's labels."""
    gzflow("ingest", rings / "rings.toml", "--catalog", rings / "labels.csv", "--images", rings / "images")
    gzflow("shard", rings / "rings.toml", "--pixels", "32")
    return home


@pytest.fixture
def started(home: Path) -> Iterator[Started]:
    """Starts the command in a session of its own; none of its processes survives the test."""
    running: list[subprocess.Popen[str]] = []
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    environment |= {"GZFLOW_HOME": str(home), "COLUMNS": "200", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-u", "-m", "flows.cli", *map(str, arguments)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=home.parent,
            start_new_session=True,
        )  # fmt: skip
        running.append(process)
        return process

    yield start
    for process in running:
        for left in session_of(process):
            left.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def session_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The living processes of its session."""
    found = []
    for other in psutil.process_iter():
        try:
            if os.getsid(other.pid) == process.pid and other.status() != psutil.STATUS_ZOMBIE:
                found.append(other)
        except (psutil.Error, ProcessLookupError):
            continue
    return found


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if re.search(pattern, line):
            return said
    pytest.fail(f"it ended without saying {pattern}:\n{said}")


def left_after(process: subprocess.Popen[str], seconds: float = 60) -> list[psutil.Process]:
    deadline = time.monotonic() + seconds
    while (left := session_of(process)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_training_is_stopped_and_goes_on(
    sharded: Path, rings: Path, started: Started, gzflow, number: signal.Signals, code: int
) -> None:
    options = ("--pixels", "32", "--epochs", "400", "--seed", str(int(number)), "--encoder", "mobilenet_v3_small")
    process = started("train", rings / "rings.toml", *options)
    read_until(process, "epoch 3: ")
    process.send_signal(number)
    assert process.stdout is not None
    said = process.stdout.read()
    assert process.wait(60) == code, said
    assert "run the same command again to go on from here" in said
    assert "Traceback" not in said
    assert left_after(process) == []

    settings = Settings.load({}, home=sharded)
    client = connect(settings)
    experiment = client.get_experiment_by_name("gzflow-rings")
    runs = client.search_runs([experiment.experiment_id])
    (run,) = [run for run in runs if run.data.params["seed"] == str(int(number))]
    assert run.info.status == "KILLED"
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) >= 3

    again = started("train", rings / "rings.toml", *options)
    said = read_until(again, "epoch [4-9]: ")
    assert re.search("going on after ([3-9]|[1-9][0-9]) finished epochs", said)
    assert client.get_run(run.info.run_id).info.status == "RUNNING"
    again.send_signal(signal.SIGTERM)
    assert again.stdout is not None
    again.stdout.read()
    assert again.wait(60) == 143
    assert client.get_run(run.info.run_id).info.status == "KILLED"


@pytest.mark.parametrize("command", ["ingest", "shard"])
def test_other_commands_are_stopped_too(rings: Path, started: Started, command: str, sharded: Path) -> None:
    """While Prefect's server starts and while the flow runs."""
    extra = (
        ("--catalog", rings / "labels.csv", "--images", rings / "images") if command == "ingest" else ("--pixels", "40")
    )
    for pause in (2.0, 5.0, 10.0):
        process = started(command, rings / "rings.toml", *extra)
        time.sleep(pause)
        process.terminate()
        assert process.stdout is not None
        said = process.stdout.read()
        # Before Python has read the command the signal's own effect, which a shell shows as 143 too.
        assert process.wait(60) in {143, -signal.SIGTERM, 0}, said
        assert "Traceback" not in said
        assert left_after(process) == []


def test_kill_9_leaves_no_temporary_server(sharded: Path, rings: Path, started: Started) -> None:
    # The size is named: another test's shard command may have finished a set of 40 pixels before its signal came.
    options = ("--pixels", "32", "--epochs", "400", "--seed", "9", "--encoder", "mobilenet_v3_small")
    process = started("train", rings / "rings.toml", *options)
    read_until(process, "epoch 1: ")
    assert any("uvicorn" in " ".join(other.cmdline()) for other in session_of(process))
    process.kill()
    assert left_after(process) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_waits_for_a_dead_service_is_stopped_soon(
    started: Started, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """Its chunks would wait for a quarter of an hour, in threads that no signal reaches."""
    (tmp_path / "down.toml").write_text(DOWN)
    rows = "".join(f"g{i},{i / 10},{i / 20}\n" for i in range(100))
    (tmp_path / "galaxies.csv").write_text(f"id,ra,dec\n{rows}")
    process = started("ingest", tmp_path / "down.toml", "--catalog", tmp_path / "galaxies.csv")
    read_until(process, "requests in a row: pausing")
    process.send_signal(number)
    begun = time.monotonic()
    assert process.stdout is not None
    said = process.stdout.read()
    assert process.wait(60) == code, said
    assert time.monotonic() - begun < 200
    assert "run the same command again to go on from here" in said
    assert "Traceback" not in said
    assert left_after(process) == []
