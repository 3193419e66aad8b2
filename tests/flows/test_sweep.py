"""What nobody was left to end is ended, and nothing else."""

from __future__ import annotations

from uuid import uuid4

import pytest

from gzflow.settings import Settings
from gzflow.tracking.client import connect
from gzflow.tracking.orphans import running_flow_runs
from gzflow.tracking.run import Lineage, TrackedRun
from tests.flows.prefect_server import PrefectServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_runs_of_ended_and_deleted_flow_runs_are_ended(server: PrefectServer) -> None:
    settings = Settings.load(server.env)
    sweep = server.deploy("flows/sweep.py:sweep", "runs", "cpu")
    server.run("prefect", "work-pool", "create", "unattended", "--type", "process", "--overwrite")
    begun_by_nobody = server.deploy("flows/sweep.py:sweep", "unattended", "unattended")
    states = {state: server.submit(begun_by_nobody) for state in ("CRASHED", "RUNNING", "SCHEDULED", "CANCELLED")}
    for state, flow_run in states.items():
        server.post(f"flow_runs/{flow_run}/set_state", state={"type": state, "name": state.title()}, force=True)
    here, elsewhere = f"{server.ui}/runs/flow-run/", "http://other.example:4200/runs/flow-run/"
    origins = {
        "crashed": (states["CRASHED"], here),
        "cancelled": (states["CANCELLED"], here),
        "running": (states["RUNNING"], here),
        "deleted": (str(uuid4()), here),
        "another server's": (str(uuid4()), elsewhere),
        "a temporary server's": (str(uuid4()), ""),
        "nobody's": ("", ""),
    }
    runs = {}
    for name, (flow_run, page) in origins.items():
        run = TrackedRun(settings, "swept", name=name, lineage=Lineage(flow_run_id=flow_run, flow_run_url=page))
        runs[name] = run.__enter__().id  # and then its process died

    server.wait_for_state(server.submit(sweep), "COMPLETED", seconds=120)

    ended = {name: connect(settings).get_run(run_id).info.status for name, run_id in runs.items()}
    assert ended == {
        "crashed": "KILLED",
        "cancelled": "KILLED",
        "running": "RUNNING",
        "deleted": "KILLED",
        "another server's": "RUNNING",
        "a temporary server's": "RUNNING",
        "nobody's": "RUNNING",
    }
    assert set(running_flow_runs(settings)) == {
        runs[name] for name in ("running", "another server's", "a temporary server's")
    }
    server.post(
        f"flow_runs/{states['RUNNING']}/set_state", state={"type": "CANCELLED", "name": "Cancelled"}, force=True
    )
