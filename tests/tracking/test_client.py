from __future__ import annotations

import multiprocessing
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gzflow.errors import TrackingError
from gzflow.settings import Settings
from gzflow.tracking.client import connect


def _start_one_run(home: Path, n: int) -> None:
    from gzflow.tracking.run import TrackedRun

    with TrackedRun(Settings.load({}, home=home), "toy", name=f"run-{n}") as run:
        run.log_metrics({"train_loss": n})


@pytest.mark.slow
def test_three_processes_make_one_new_database_together(tmp_path: Path) -> None:
    """MLflow's own migrations fail here; the lock lets one do the work and the others wait."""
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_start_one_run, args=(tmp_path, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(150)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    client = connect(Settings.load({}, home=tmp_path))
    found = client.get_experiment_by_name("gzflow-toy")
    assert {run.info.run_name for run in client.search_runs([found.experiment_id])} == {"run-0", "run-1", "run-2"}


def test_nothing_is_written_beside_the_home(settings: Settings, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    connect(settings)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_silent_server_is_said_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(TrackingError, match="does not answer") as caught:
            connect(Settings.load({"MLFLOW_TRACKING_URI": uri}, home=tmp_path))
    assert "mlflow/README.md" in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.db"
    path.write_text("this is a text file, not a database\n" * 100)
    with pytest.raises(TrackingError, match="open the store"):
        connect(Settings.load({"MLFLOW_TRACKING_URI": f"sqlite:///{path}"}, home=tmp_path))


def test_the_folder_of_settings_is_not_taken_for_the_package(tmp_path: Path) -> None:
    """Where MLflow is not installed, `import mlflow` finds the folder: an empty package without any error."""
    (tmp_path / "mlflow").mkdir()
    code = (
        "import importlib.machinery as m, sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'mlflow':\n"
        "            spec = m.ModuleSpec(name, None, is_package=True)\n"
        f"            spec.submodule_search_locations = [{str(tmp_path / 'mlflow')!r}]\n"
        "            return spec\n"
        "sys.meta_path.insert(0, Hide())\n"
        "from gzflow.tracking.client import connect\n"
        "from gzflow.settings import Settings\n"
        "try:\n"
        f"    connect(Settings.load({{}}, home={str(tmp_path)!r}))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout
    assert said.startswith("TrackingError the package mlflow is not installed")
    assert "pip install 'mlflow>=3.17,<4'" in said


def test_telemetry_is_off() -> None:
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_the_store_is_an_ordinary_sqlite_file(settings: Settings) -> None:
    connect(settings)
    with sqlite3.connect(settings.home / "mlflow" / "mlflow.db") as database:
        assert database.execute("select count(*) from experiments").fetchone() == (1,)
    database.close()
