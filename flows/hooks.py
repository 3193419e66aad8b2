"""What happens when a flow run is cancelled, crashes or fails: nothing of it stays RUNNING in MLflow."""

from __future__ import annotations

import logging
from typing import Any

from gzflow.settings import Settings
from gzflow.tracking.orphans import end_orphans

logger = logging.getLogger("gzflow.hooks")


def end_tracking(flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG001 - Prefect's signature
    """End the MLflow runs that this flow run left RUNNING.

    A run whose process could still act has ended it by itself; this is for the others. The worker calls it when the
    process died, the process itself otherwise. When MLflow cannot be reached, `flows.sweep` comes back to it.
    """
    status = "FAILED" if state.is_failed() else "KILLED"
    for run_id in end_orphans(Settings.load(), str(flow_run.id), status):
        logger.warning("MLflow run %s was left RUNNING; it is %s now", run_id, status)


HOOKS: dict[str, Any] = {
    "on_cancellation": [end_tracking],
    "on_crashed": [end_tracking],
    "on_failure": [end_tracking],
}
"""Options of every flow that makes MLflow runs: ``@flow(name=..., **HOOKS)``."""
