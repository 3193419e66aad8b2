"""Runs that a flow run began and may not have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gzflow.settings import Settings
from gzflow.tracking.client import PREFIX, connect, tracking_errors
from gzflow.tracking.run import FLOW_RUN_ID, FLOW_RUN_URL, Lineage

if TYPE_CHECKING:
    from mlflow import MlflowClient


def running_flow_runs(settings: Settings) -> dict[str, Lineage]:
    """Where the runs that are RUNNING come from, by run id; only those that a flow run asked for."""
    client = connect(settings)
    with tracking_errors("look for running runs", settings):
        experiments = _experiments(client)
        runs = client.search_runs(experiments, "attributes.status = 'RUNNING'") if experiments else []
    return {
        run.info.run_id: Lineage(flow_run_id=tags[FLOW_RUN_ID], flow_run_url=tags.get(FLOW_RUN_URL))
        for run in runs
        if FLOW_RUN_ID in (tags := run.data.tags)
    }


def end_orphans(settings: Settings, flow_run_id: str, status: str = "KILLED") -> list[str]:
    """Ids of the runs that a dead flow run had left RUNNING; they are ended here.

    A process that is killed cannot end its run; whoever notices its death calls this.
    """
    client = connect(settings)
    ended = []
    with tracking_errors("end orphaned runs", settings):
        if not (experiments := _experiments(client)):
            return []
        quoted = flow_run_id.replace("'", "")
        wanted = f"tags.`{FLOW_RUN_ID}` = '{quoted}' AND attributes.status = 'RUNNING'"
        for run in client.search_runs(experiments, filter_string=wanted):
            client.set_terminated(run.info.run_id, status)
            ended.append(run.info.run_id)
    return ended


def _experiments(client: MlflowClient) -> list[str]:
    return [found.experiment_id for found in client.search_experiments(filter_string=f"name LIKE '{PREFIX}%'")]
