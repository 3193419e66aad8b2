"""Who is told of what: real events, a real server's automations, and a chat service on loopback."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from prefect.server.events.schemas.automations import Automation
from prefect.server.events.schemas.events import ReceivedEvent

from tests.flows.prefect_server import PrefectServer, wait_for
from tests.flows.webhook import Inbox

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PATIENCE_S = 240

APPLY = """
import json, sys
from datetime import timedelta
from prefect.client.orchestration import get_client
from flows import automations
names = automations.apply(sys.argv[1] or None, late=timedelta(seconds=int(sys.argv[2])), silent="silent" in sys.argv)
with get_client(sync_client=True) as client:
    found = {one.name: str(one.id) for one in client.read_automations()}
    blocks = [one.name for one in client.read_block_documents()]
print(json.dumps([names, found, blocks]))
"""


def test_a_failed_run_is_told_once_with_its_message(server: PrefectServer, told: Inbox) -> None:
    ingest = server.deploy("flows/ingest.py:ingest", "decals", "cpu", survey="decals")
    run = server.submit(ingest, catalog="nowhere.csv")
    state = server.wait_for_state(run, "FAILED", seconds=PATIENCE_S)["state"]
    for words in ("SettingsError: ingest of decals cannot begin", "catalog: no such file: nowhere.csv"):
        assert words in state["message"]
    (post,) = wait_for(lambda: told.about(run, "prefect.flow-run.Failed"), PATIENCE_S, "somebody was told")
    assert (post["run"], post["state"]) == ("ingest-decals", "Failed")
    assert "no such file: nowhere.csv" in post["message"]
    assert post["link"] == f"{server.ui}/runs/flow-run/{run}"
    assert all(words in post["text"] for words in ("ingest-decals", "Failed", post["link"]))


def test_too_many_failures_and_a_new_champion_are_told_once(server: PrefectServer, told: Inbox, rings: Path) -> None:
    """41 galaxies of which one has no image are more than the 1 % that this server's environment allows."""
    pipeline = server.deploy("flows/pipeline.py:pipeline", "rings", "cpu", survey=str(rings / "rings.toml"))
    run = server.submit(
        pipeline,
        catalog=str(rings / "labels.csv"),
        images_from=[str(rings / "images")],
        pixels=32,
        config={"epochs": 1},
    )
    server.wait_for_state(run, "COMPLETED", seconds=2 * PATIENCE_S)
    events = ("gzflow.failures", "gzflow.champion")
    posts = wait_for(lambda: len(found := told.about(run, *events)) > 1 and found, PATIENCE_S, "both were told")
    by_event = {post["event"]: post for post in posts}
    assert len(posts) == len(by_event) == 2
    assert by_event["gzflow.failures"]["message"].startswith("ingest of rings: 2.4% failed: 41 in = 40 done + 1 failed")
    assert by_event["gzflow.champion"]["message"].startswith("gzflow-rings version 1 (champion): test NLL")
    assert {post["run"] for post in posts} == {"pipeline-rings"}
    assert {post["link"] for post in posts} == {f"{server.ui}/runs/flow-run/{run}"}


def test_a_run_that_nobody_takes_is_told_once(server: PrefectServer, told: Inbox) -> None:
    server.run("prefect", "work-pool", "create", "nobody", "--type", "process", "--overwrite")
    run = server.submit(server.deploy("flows/sweep.py:sweep", "waiting", "nobody"))
    wait_for(lambda: told.about(run, "prefect.flow-run.Late"), PATIENCE_S, "somebody was told")
    server.post(f"flow_runs/{run}/set_state", state={"type": "CANCELLED", "name": "Cancelled"}, force=True)


FOREIGN = """
from prefect import flow
from prefect.runtime import flow_run

@flow(name="somebody else's")
def foreign():
    return flow_run.get_id()

print(foreign())
"""


def test_only_the_heartbeats_of_gzflows_runs_are_waited_for(server: PrefectServer, told: Inbox) -> None:
    """Events as the server has them, before the automation's trigger as the server evaluates it."""
    ours = server.submit(server.deploy("flows/sweep.py:sweep", "runs", "cpu"))
    server.wait_for_state(ours, "COMPLETED", seconds=PATIENCE_S)
    theirs = server.python(FOREIGN).split()[-1]

    def events(run: str) -> dict[str, ReceivedEvent]:
        resource = {"id": [f"prefect.flow-run.{run}"]}
        found = server.post("events/filter", filter={"resource": resource}, limit=50)["events"]
        return {one["event"]: ReceivedEvent.model_validate(one) for one in found}

    names = ("prefect.flow-run.heartbeat", "prefect.flow-run.Completed")
    seen = {
        run: wait_for(lambda run=run: set(names) <= set(found := events(run)) and found, PATIENCE_S, f"events of {run}")
        for run in (ours, theirs)
    }
    (lost,) = [one for one in server.post("automations/filter") if one["name"] == "gzflow: heartbeat lost"]
    trigger = Automation.model_validate(lost).trigger
    for name in names:
        assert trigger.covers(seen[ours][name])
        assert not trigger.covers(seen[theirs][name])
    assert trigger.within.total_seconds() == 3.5 * int(server.env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])


def test_automations_are_changed_only_where_they_differ(server: PrefectServer, told: Inbox) -> None:
    """What is not touched keeps the heartbeats that it waits for; automations of other people are left alone."""

    def apply(url: str, late: int, *words: str) -> tuple[list[str], dict[str, str], list[str]]:
        names, found, blocks = json.loads(server.python(APPLY, url, str(late), *words))
        return names, found, blocks

    stale = {"name": "gzflow: of an older version", "trigger": {"type": "event", "expect": ["x"], "posture": "Reactive",
             "threshold": 1, "within": 0}, "actions": [{"type": "do-nothing"}]}  # fmt: skip
    server.post("automations/", **stale)
    server.post("automations/", **stale | {"name": "mine"})
    before = {one["name"]: one for one in server.post("automations/filter")}
    names, found, _ = apply(told.url, 10)
    after = {one["name"]: one for one in server.post("automations/filter")}
    assert set(found) == {*names, "mine"}
    assert all(after[name] == before[name] for name in names)

    # Without an address the stored one serves; an automation that was muted stays so, also when it changes.
    late = found["gzflow: late"]
    httpx.patch(f"{server.api}/automations/{late}", json={"enabled": False}, timeout=30).raise_for_status()
    names, found, blocks = apply("", 11)
    assert (len(names), blocks) == (6, ["gzflow-webhook"])
    now = server.get(f"automations/{late}")
    assert (found["gzflow: late"], now["enabled"], now["trigger"]["within"]) == (late, False, 11)

    names, found, blocks = apply("", 10, "silent")
    assert names == ["gzflow: heartbeat lost"]
    assert set(found) == {"gzflow: heartbeat lost", "mine"}
    assert blocks == []

    names, found, blocks = apply(told.url, 10)
    assert len(names) == 6
    assert found["gzflow: heartbeat lost"] == after["gzflow: heartbeat lost"]["id"]
    assert blocks == ["gzflow-webhook"]


def test_the_webhooks_address_is_shown_nowhere(server: PrefectServer, told: Inbox) -> None:
    secret = told.url.rpartition("/")[2]
    blocks = server.post("block_documents/filter")
    assert [one["name"] for one in blocks] == ["gzflow-webhook"]
    for said in (blocks, server.post("automations/filter"), server.post("flow_runs/filter")):
        assert secret not in json.dumps(said)
    for log in server.folder.glob("*.log"):
        assert secret not in log.read_text()
    for file in (server.folder / "prefect").glob("prefect.db*"):
        assert secret.encode() not in file.read_bytes()
