"""The same runs and models through a real server, started with the settings of the folder mlflow/."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from gzflow.model.morphology import Morphology
from gzflow.settings import Settings
from gzflow.tracking.registry import Registry
from gzflow.tracking.run import TrackedRun
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(empty_store: Path) -> Iterator[Settings]:
    """Settings that name a running server over the store under `empty_store`'s home."""
    home = empty_store.parents[1]
    port = free_port()
    known = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environ = known | {"GZFLOW_HOME": str(home), "MLFLOW_PORT": str(port)}
    program = shlex.quote(str(Path(sys.executable).with_name("mlflow")))
    command = ["sh", "-c", f"set -a; . mlflow/server.env; set +a; exec {program} server"]
    with (home / "server.log").open("w") as output:
        server = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=output, start_new_session=True)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", home / "server.log")
            yield Settings.load({"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}, home=home / "client")
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


def _wait_for(url: str, output: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.3)
    pytest.fail(f"the server did not start: {output.read_text()[-2000:]}")


def test_runs_and_models_travel_through_the_server(
    served: Settings, saved_model: Callable[[int], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with TrackedRun(served, "far", name="first") as run:
        run.log_metrics({"train_loss": 2.0, "validation_nll/arms": 1.0}, step=3)
        run.log_text("notes/why.txt", "because")
        first = Registry(served).register(saved_model(1), run)
    assert capfd.readouterr().out == ""
    assert run.url == f"{served.tracking_uri}/#/experiments/{run.experiment_id}/runs/{run.id}"
    assert run.client.get_run(run.id).data.metrics["train/loss"] == 2.0
    elsewhere = Settings.load({"MLFLOW_TRACKING_URI": served.tracking_uri}, home=tmp_path / "another-machine")
    champion = Registry(elsewhere).champion("far")
    assert champion.version == first.version == "1"
    assert champion.folder.is_relative_to(elsewhere.models)
    assert Morphology.load(champion.folder).spec == Morphology.load(saved_model(1)).spec
    assert Registry(elsewhere).champion("far") == champion
    assert [path.name for path in champion.folder.parent.iterdir()] == [champion.folder.name]


def test_the_server_shows_what_was_logged_without_it(served: Settings, saved_model: Callable[[int], Path]) -> None:
    alone = Settings.load({}, home=served.home.parent)
    with TrackedRun(alone, "near") as run:
        run.log_text("notes/why.txt", "because")
        Registry(alone).register(saved_model(2), run)
    got = httpx.get(f"{served.tracking_uri}/get-artifact", params={"run_id": run.id, "path": "notes/why.txt"})
    assert (got.status_code, got.text) == (200, "because")
    assert Registry(served).champion("near").run_id == run.id


def test_machines_that_share_only_the_server_have_one_winner(
    served: Settings, saved_model: Callable[[int], Path], tmp_path: Path
) -> None:
    """Three homes, one server: each round all promote over the same champion, and one wins."""
    for seed in (1, 2, 3):
        with TrackedRun(served, "race") as run:
            Registry(served).register(saved_model(seed), run)
    rivals = [sys.executable, str(Path(__file__).with_name("rivals.py")), served.tracking_uri, str(tmp_path)]
    done = subprocess.run(
        [*rivals, "race", "4", "1", "2", "3"], capture_output=True, text=True, check=True, timeout=240
    )
    champion = "1"
    for decisions in json.loads(done.stdout.splitlines()[-1]):
        moved = [one for one in decisions if one["moved"]]
        assert len(decisions) == 2
        assert [one["champion"] for one in moved] == [champion]
        champion = moved[0]["version"]
    succession = Registry(served).succession("race")
    assert succession.champion() == champion
    assert len(succession.history()) == 1 + 8
