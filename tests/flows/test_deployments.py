"""prefect.yaml: every deployment names a flow that exists and parameters that it accepts."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import yaml

from flows.stack.pools import POOLS

FILE = Path(__file__).parents[2] / "prefect.yaml"
ENTRIES = yaml.safe_load(FILE.read_text())["deployments"]
SURVEYS = ("gz2", "decals", "hubble", "candels")


def flow_of(entry):
    path, _, name = entry["entrypoint"].partition(":")
    return getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)


def test_the_deployments_are_those_that_the_pages_promise():
    stages = {f"{flow}/{survey}" for flow in ("ingest", "shard", "train", "predict", "promote") for survey in SURVEYS}
    others = {"finetune/hubble", "finetune/candels", "pipeline/demo", "pipeline/decals", "sweep/runs", "acquire/zenodo"}
    others |= {"joint/gz2-decals-hubble"}
    assert sorted(f"{flow_of(entry).name}/{entry['name']}" for entry in ENTRIES) == sorted(stages | others)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry['entrypoint']}-{entry['name']}")
def test_a_deployment_can_run_as_it_stands(entry):
    flow_of(entry).validate_parameters(entry.get("parameters", {}))
    assert entry["work_pool"]["name"] in {pool.name for pool in POOLS}
    assert entry["description"]
    assert "gzflow" in entry["tags"]
    # Not the worker's own: the automation that ends dead runs must know how often each run beats.
    assert entry["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert entry["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    # Housekeeping runs by itself; what takes hours or asks services waits for the user's word.
    assert [schedule["active"] for schedule in entry.get("schedules", ())] in ([], [entry["name"] == "runs"])


def test_no_variable_that_may_hold_a_password_is_stored_in_a_deployment():
    settings = "\n".join(line for line in FILE.read_text().splitlines() if not line.lstrip().startswith("#"))
    assert set(re.findall(r"\$(\w+)", settings)) == {"PWD", "GZFLOW_HOME", "MLFLOW_TRACKING_URI"}


def test_the_whole_pipeline_starts_at_an_hour_of_its_own():
    """It needs the folders of the single stages: of two that meet there, one fails."""
    hours = {(flow_of(entry).name, each["cron"].split()[1]) for entry in ENTRIES for each in entry.get("schedules", ())}
    (own,) = {hour for name, hour in hours if name == "pipeline"}
    assert own not in {hour for name, hour in hours if name != "pipeline"}
