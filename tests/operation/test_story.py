"""`gzflow up`, `prefect deployment run pipeline/demo --watch`, `prefect deployment run predict/decals --watch`."""

from __future__ import annotations

import json
import re
import time

import httpx
import pyarrow.parquet as pq
import pytest

from gzflow.shards.reader import ShardSet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SKY = "decals-sim-150-42"


@pytest.mark.parametrize("deployment", ["pipeline/demo", "predict/decals"])
def test_both_commands_end_completed(deployment: str, operated):
    done = operated.said[deployment]
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{operated.stack.logs()}"
    assert "Completed" in done.stdout
    assert operated.prefect(f"/flow_runs/{operated.runs[deployment]}")["state_type"] == "COMPLETED"


def test_every_galaxy_of_the_sky_is_predicted_on_disk(operated):
    home = operated.stack.home
    (folder,) = (home / "predictions" / SKY).iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    ids = [i for part in folder.glob("part-*.parquet") for i in pq.read_table(part)["id_str"].to_pylist()]
    shards = ShardSet.open(home / "shards" / SKY / "64px")
    expected = [i for split in ("train", "validation", "test") for reader in shards.readers(split) for i in reader.ids]
    assert sorted(ids) == sorted(expected)
    assert manifest["pinned"]["model_uri"] == f"models:/gzflow-{SKY}/1"
    metadata = pq.read_schema(next(folder.glob("part-*.parquet"))).metadata
    assert b"Simulated" in metadata[b"acknowledgement"]
    assert not (home / "predictions" / "decals").exists(), "nothing simulated goes by the real survey's name"


def test_the_flow_runs_page_leads_to_a_living_mlflow_run_and_that_back(operated):
    run_id = operated.runs["pipeline/demo"]
    pages = operated.prefect("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run_id]}}})
    text = "\n".join(str(page["data"]) for page in pages if page["type"] == "markdown")
    link = re.search(rf"{re.escape(operated.stack.mlflow_url)}/#/experiments/(\w+)/runs/(\w+)", text)
    assert link is not None, text[:2000]
    assert httpx.get(link[0], timeout=60).status_code == 200
    run = operated.mlflow(f"/runs/get?run_id={link[2]}")["run"]
    assert (run["info"]["experiment_id"], run["info"]["status"]) == (link[1], "FINISHED")
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert tags["prefect.flow_run_id"] == run_id
    assert tags["prefect.flow_run_url"].startswith(operated.stack.prefect_url)
    assert tags["prefect.flow_run_url"] in tags["mlflow.note.content"]
    back = tags["prefect.flow_run_url"].rsplit("/", 1)[-1]
    assert operated.prefect(f"/flow_runs/{back}")["name"] == "pipeline-demo"


def test_the_prediction_says_whose_galaxies_it_shows(operated):
    run_id = operated.runs["predict/decals"]
    pages = operated.prefect("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run_id]}}})
    text = "\n".join(str(page["data"]) for page in pages if page["type"] == "markdown")
    assert f"Predictions for {SKY}" in text
    assert "the demo's simulated galaxies" in text


def test_nothing_went_wrong_on_the_way(operated):
    errors = operated.prefect("/logs/filter", {"logs": {"level": {"ge_": 40}}})
    assert [line["message"] for line in errors] == []
    folder = operated.stack.home / "stack" / "logs"
    records = [record for path in folder.glob("*.log") for record in re.split(r"(?m)^(?=\d\d:\d\d:)", path.read_text())]
    wrong = [record for record in records if re.search(r"\bERROR\b|\bCRITICAL\b|Traceback", record)]
    # On a busy machine Prefect's services wait for each other on SQLite in vain, and try again.
    assert [record for record in wrong if "database is locked" not in record] == []


def test_nothing_is_left_running(operated):
    deadline = time.monotonic() + 120
    while True:  # the sweep's hour may have come just now, and its next ones are planned
        states = {run["state_type"] for run in operated.prefect("/flow_runs/filter", {})}
        if states <= {"COMPLETED", "SCHEDULED"}:
            break
        assert time.monotonic() < deadline, states
        time.sleep(1)
    assert "COMPLETED" in states
    _, runs = operated.mlflow_runs()
    assert {run["info"]["status"] for run in runs} == {"FINISHED"}
