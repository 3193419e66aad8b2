"""Flow runs that a killed stack left in the state Running: their slot would stay taken, their page would lie."""

from __future__ import annotations

from uuid import UUID

import psutil
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

from flows.stack.process import MARK

ALIVE = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
WORKER = "prefect.worker.name"
"""Label of a flow run: the worker that started it."""


async def crash_dead_runs(client: PrefectClient, workers: set[str]) -> list[UUID]:
    """Mark runs of these workers as Crashed whose process is gone; call it before the workers start again.

    Runs of workers on other machines are not touched: nobody here knows how they are.
    """
    states = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=ALIVE)))
    dead = [
        run
        for run in await client.read_flow_runs(flow_run_filter=states)
        if run.labels.get(WORKER) in workers and not _lives(run)
    ]
    message = "Its process ended with the stack; run it again, and it goes on from what is done."
    for run in dead:
        await client.set_flow_run_state(run.id, Crashed(message=message), force=True)
    return [run.id for run in dead]


def _lives(run: FlowRun) -> bool:
    """Whether the process that was noted is still one of a stack's: the number may be another program's by now."""
    try:
        return MARK in psutil.Process(int(run.infrastructure_pid or "")).environ()
    except (ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        return False
