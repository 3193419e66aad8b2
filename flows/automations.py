"""Automations as code: who is told when a run fails, crashes, is late or loses galaxies, and what ends the dead ones.

`apply` makes a server's automations those of this file: it adds, changes and removes by name, so that it may be run
again at every start: ``python -m flows.automations`` does it for the server of ``PREFECT_API_URL``, and with
``--without-webhook`` it removes the notifications.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from prefect.automations import AutomationCore, CallWebhook, ChangeFlowRunState, EventTrigger, Posture, RunDeployment
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from flows.events import CHAMPION, FAILURES, OVER

PREFIX = "gzflow: "
"""Begins the name of every automation that this file owns."""
BLOCK = "gzflow-webhook"
WEBHOOK_VARIABLE = "GZFLOW_WEBHOOK_URL"
SWEEP = "sweep/runs"
LATE = timedelta(minutes=10)
"""A run that waits this long for a worker is news; one that waits for its turn for a moment is not."""
ONCE = timedelta(seconds=10)
"""A busy server may see one event twice; what happened to a run within this time of what was told is the same thing."""
ENDED = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
HEARTBEAT = "prefect.flow-run.heartbeat"
BEAT_VARIABLE = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
RUN = {"prefect.resource.id": "prefect.flow-run.*"}
TAG = "gzflow"
"""Every deployment of prefect.yaml carries it, hence every run of one, hence every event of that run."""
TAGGED = {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}


def apply(webhook: str | None = None, *, late: timedelta = LATE, silent: bool = False) -> list[str]:
    """Names of the automations that the server has now, of those that this file owns.

    Parameters
    ----------
    webhook
        Where notifications are POSTed to. The server keeps the URL as the secret of a block; None (and no
        ``GZFLOW_WEBHOOK_URL``) means the one that it keeps, or nobody.
    late
        How long a run may wait before somebody is told; 10 s at least.
    silent
        Tell nobody from now on: the notifications and the block go.
    """
    block = None if silent else _block(webhook or os.environ.get(WEBHOOK_VARIABLE))
    with get_client(sync_client=True) as client:
        wanted = [_zombies(client), *(_notifications(block, late) if block else [])]
        known: dict[str, list[Any]] = {}
        for one in client.read_automations():
            known.setdefault(one.name, []).append(one)
        for automation in wanted:
            here = known.pop(automation.name, [])
            if not here:
                client.create_automation(automation)
            elif not _same(automation, here[0]):
                # Only what differs is touched: a changed automation forgets what it is waiting for. One that somebody
                # switched off stays off.
                client.update_automation(here[0].id, automation.model_copy(update={"enabled": here[0].enabled}))
            for double in here[1:]:
                client.delete_automation(double.id)
        for name, stale in known.items():
            for one in stale if name.startswith(PREFIX) else ():
                client.delete_automation(one.id)
    if silent:
        _forget_block()
    return [automation.name for automation in wanted]


def _zombies(client: SyncPrefectClient) -> AutomationCore:
    """Runs of gzflow whose process and worker both died: nobody reports them, their heartbeat stops."""
    actions: list[Any] = [
        ChangeFlowRunState(
            state=StateType.CRASHED, name="Crashed", message="No heartbeat: the process and its worker died."
        )
    ]
    try:
        sweep = client.read_deployment_by_name(SWEEP)
    except ObjectNotFound:
        pass  # a server without gzflow's deployments still gets its dead runs crashed
    else:
        actions.append(RunDeployment(source="selected", deployment_id=sweep.id))
    return AutomationCore(
        name=f"{PREFIX}heartbeat lost",
        description="A run without a heartbeat for more than three of its intervals is marked Crashed.",
        trigger=EventTrigger(
            match=RUN,
            # The beat of other people's flows is their own: a slow one is no sign of death.
            match_related=TAGGED,
            for_each={"prefect.resource.id"},
            after={HEARTBEAT},
            expect={HEARTBEAT, *ENDED},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=3.5 * _slowest_beat(client)),
        ),
        actions=actions,
    )


def _slowest_beat(client: SyncPrefectClient) -> float:
    """Seconds between heartbeats of gzflow's runs, wherever their workers are: the deployments say it to them.

    The number stands in prefect.yaml. A deployment that was made without one beats as its worker's environment says,
    which is taken to be this one's.
    """
    here = get_current_settings().flows.heartbeat_frequency or 180
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    environments = [one.job_variables.get("env") or {} for one in client.read_deployments(deployment_filter=tagged)]
    return max((float(env.get(BEAT_VARIABLE, here)) for env in environments), default=here)


def _notifications(block: Any, late: timedelta) -> list[AutomationCore]:
    def on_state(word: str, state: str) -> AutomationCore:
        return _notify(word, f"A run {word}.", block, _RUN_PAYLOAD, expect={f"prefect.flow-run.{state}"}, match=RUN)

    return [
        on_state("failed", "Failed"),
        on_state("crashed", "Crashed"),
        _notify(
            "late",
            f"A run has waited {late.total_seconds():.0f} s for a worker.",
            block,
            _RUN_PAYLOAD,
            match=RUN,
            after={"prefect.flow-run.Late"},
            expect={"prefect.flow-run.Pending", "prefect.flow-run.Running", *ENDED},
            posture=Posture.Proactive,
            within=late,
        ),
        _notify(
            "failures",
            "More galaxies failed than GZFLOW_ALERT_FAILURES allows.",
            block,
            _EVENT_PAYLOAD,
            expect={FAILURES},
            match={OVER: "yes"},
        ),
        _notify("champion", "A survey has a new champion.", block, _EVENT_PAYLOAD, expect={CHAMPION}),
    ]


def _notify(word: str, description: str, block: Any, payload: str, **trigger: Any) -> AutomationCore:
    each = {"prefect.resource.id", "gzflow.stage"}
    trigger = {"posture": Posture.Reactive, "threshold": 1, "for_each": each, "within": ONCE} | trigger
    return AutomationCore(
        name=f"{PREFIX}{word}",
        description=description,
        trigger=EventTrigger(**trigger),
        actions=[CallWebhook(block_document_id=block, payload=payload)],
    )


def _payload(message: str, words: str) -> str:
    """A JSON object whose values are Jinja expressions.

    ``text``, made of `words`, is what chat services show. ``id`` is the event's: a server in distress may POST it twice
    after all.
    """
    values = {
        "text": f"[{words}, flow_run | ui_url] | join(' · ')",
        "event": "event.event",
        "id": "event.id | string",
        "run": "flow_run.name",
        "state": "flow_run.state.name",
        "message": message,
        "link": "flow_run | ui_url",
    }
    return "{" + ", ".join(f"{json.dumps(key)}: {{{{ ({value}) | tojson }}}}" for key, value in values.items()) + "}"


_RUN_PAYLOAD = _payload(
    "flow_run.state.message or ''", "flow_run.name, flow_run.state.name, flow_run.state.message or ''"
)
_EVENT_PAYLOAD = _payload("event.resource['gzflow.message']", "event.resource['gzflow.message']")


def _block(url: str | None) -> Any:
    """Id of the block that keeps the URL, saved again only when it is another one; None when there is no URL."""
    try:
        stored = Webhook.load(BLOCK)
    except ValueError:  # what Prefect says when there is none
        stored = None
    if url and (stored is None or stored.url.get_secret_value() != url):
        return Webhook(url=url, method="POST").save(BLOCK, overwrite=True)
    return stored and stored._block_document_id  # noqa: SLF001 - Prefect has no public name for it


def _forget_block() -> None:
    with suppress(ValueError):
        Webhook.delete(BLOCK)


def _same(wanted: AutomationCore, known: Any) -> bool:
    """Whether the server has it just so, on or off; ids that the server adds to triggers do not count."""
    return _covers(known.model_dump(mode="json"), wanted.model_dump(mode="json", exclude={"enabled"}))


def _covers(known: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(known, Mapping) and all(_covers(known.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(known, list) or len(known) != len(wanted):
            return False
        if all(isinstance(value, str) for value in wanted):
            return sorted(known) == sorted(wanted)
        return all(_covers(one, other) for one, other in zip(known, wanted, strict=True))
    return bool(known == wanted)


if __name__ == "__main__":
    parser = ArgumentParser(
        prog="python -m flows.automations", description="Make a server's automations those of gzflow."
    )
    parser.add_argument("--without-webhook", action="store_true", help="remove the notifications and their address")
    sys.stdout.write("\n".join(apply(silent=parser.parse_args().without_webhook)) + "\n")
