from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from gzflow.simulation.survey import SimulatedSurvey
from tests.flows.prefect_server import PrefectServer, prefect_server
from tests.flows.webhook import Inbox, inbox
from tests.survey_files import RINGS

Gzflow = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flows") / "home"


@pytest.fixture(scope="module")
def gzflow(home: Path) -> Gzflow:
    """The command as a user types it, with a home of its own and no server anywhere."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    environment |= {"GZFLOW_HOME": str(home), "COLUMNS": "200"}

    def run(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, check=False, timeout=280, cwd=home.parent
        )
        if check and done.returncode != 0:
            raise AssertionError(f"gzflow {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}")
        return done

    return run


@pytest.fixture(scope="session")
def rings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it: rings.toml, labels.csv, and images in a folder of any size."""
    folder = tmp_path_factory.mktemp("rings")
    (folder / "images").mkdir()
    survey = SimulatedSurvey.draw("decals", 40, 11, pixels=48)
    lines = ["id_str,file,ring_yes,ring_no"]
    for row, id_str in enumerate(survey.ids):
        cv2.imwrite(str(folder / "images" / f"{row}.png"), np.ascontiguousarray(survey.picture(row)[..., ::-1]))
        lines.append(f"{id_str},{row}.png,{row % 2},{1 - row % 2}")
    (folder / "labels.csv").write_text("\n".join([*lines, "lost,nowhere.png,1,0"]) + "\n")
    (folder / "rings.toml").write_text(RINGS)
    return folder


@pytest.fixture(scope="session")
def told() -> Iterator[Inbox]:
    """Where `server` sends its notifications."""
    with inbox() as box:
        yield box


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, told: Inbox) -> Iterator[PrefectServer]:
    """A Prefect server with a worker for pool ``cpu``, the sweep and all automations; MLflow is a SQLite file."""
    with prefect_server(tmp_path_factory.mktemp("server"), GZFLOW_ALERT_FAILURES="0.01") as running:
        running.worker("cpu")
        running.deploy("flows/sweep.py:sweep", "runs", "cpu")
        apply = "import sys; from datetime import timedelta; from flows.automations import apply"
        running.python(f"{apply}; apply(sys.argv[1], late=timedelta(seconds=10))", told.url)
        yield running
