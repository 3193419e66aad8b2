"""A newcomer's first hour, once for all tests here: a fresh stack, the demo, a prediction, four trainings."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stack import Stack, running_stack

SKY = "decals-sim-150-42"
DEMO = ("-p", "n_galaxies=150", "-p", "epochs=1")


@dataclass
class Operated:
    """A stack and what was run on it.

    Attributes
    ----------
    said
        What each command printed and its exit status, by deployment.
    runs
        Flow-run ids by deployment.
    """

    stack: Stack
    said: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)

    @property
    def toml(self) -> Path:
        """The simulated survey."""
        return self.stack.home / "simulated" / SKY / f"{SKY}.toml"

    def watch(self, deployment: str, *words: str) -> None:
        """`prefect deployment run ... --watch`."""
        done = self.stack.prefect("deployment", "run", deployment, "--watch", *words, check=False, timeout=600)
        self.said[deployment] = done
        if found := re.search(r"UUID: ([0-9a-f-]{36})", done.stdout):
            self.runs[deployment] = found[1]

    def prefect(self, path: str, body: Any = None) -> Any:
        """What Prefect's API answers."""
        return _answer(f"{self.stack.state.prefect_api}{path}", body)

    def mlflow(self, path: str, body: Any = None) -> Any:
        """What MLflow's API answers."""
        return _answer(f"{self.stack.mlflow_url}/api/2.0/mlflow{path}", body)

    def mlflow_runs(self) -> tuple[str, list[dict[str, Any]]]:
        """The survey's experiment and its runs, the latest first; not the evaluations below them."""
        found = self.mlflow(f"/experiments/get-by-name?experiment_name=gzflow-{SKY}")["experiment"]["experiment_id"]
        runs = self.mlflow("/runs/search", {"experiment_ids": [found]})["runs"]
        return found, [run for run in runs if "mlflow.parentRunId" not in {tag["key"] for tag in run["data"]["tags"]}]


def _answer(url: str, body: Any) -> Any:
    answer = httpx.get(url, timeout=60) if body is None else httpx.post(url, json=body, timeout=60)
    return answer.raise_for_status().json()


@pytest.fixture(scope="package")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    with running_stack(tmp_path_factory.mktemp("operation") / "home") as stack:
        newcomer = Operated(stack)
        newcomer.watch("pipeline/demo", *DEMO)
        newcomer.watch("predict/decals")
        yield newcomer


@pytest.fixture(scope="package")
def four_runs(operated: Operated) -> Operated:
    """Three more trainings on the demo's shards beside the demo's own."""
    for seed in (1, 2, 3):
        config = json.dumps({"epochs": 1, "seed": seed, "encoder": "mobilenet_v3_small"})
        operated.watch("train/decals", "-p", f"survey={operated.toml}", "-p", f"config={config}")
        assert operated.said["train/decals"].returncode == 0, operated.said["train/decals"].stdout
    return operated


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go: ``GZFLOW_TEST_SCREENSHOTS``, or the tests' own folder."""
    given = os.environ.get("GZFLOW_TEST_SCREENSHOTS")
    folder = Path(given).absolute() if given else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
