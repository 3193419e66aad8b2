"""Sweep: end what nobody was left to end."""

from __future__ import annotations

import logging
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_UI_URL

from gzflow.settings import Settings
from gzflow.tracking.orphans import end_orphans, running_flow_runs
from gzflow.tracking.run import Lineage

logger = logging.getLogger("gzflow.sweep")


@flow(name="sweep", flow_run_name="sweep")
def sweep() -> list[str]:
    """End the MLflow runs whose flow run is over: a worker that died with its process can do it no more."""
    settings = Settings.load()
    # MLflow is read first: what is RUNNING there and over here can only have been left behind.
    running = {origin.flow_run_id: origin for origin in running_flow_runs(settings).values()}
    ended = [
        run_id
        for flow_run_id, origin in running.items()
        if flow_run_id is not None and _is_over(origin)
        for run_id in end_orphans(settings, flow_run_id)
    ]
    logger.info("%d flow runs have a running MLflow run; ended: %s", len(running), ", ".join(ended) or "none")
    return ended


def _is_over(origin: Lineage) -> bool:
    """Whether the flow run has ended or was deleted; one of another server may well be running there."""
    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(UUID(origin.flow_run_id)).state
        except ObjectNotFound:
            here = PREFECT_UI_URL.value()
            return bool(here and (origin.flow_run_url or "").startswith(f"{here.rstrip('/')}/"))
    return state is not None and state.is_final()
