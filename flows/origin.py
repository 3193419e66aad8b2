"""Which flow run this code belongs to, and what to call it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import runtime
from prefect.context import FlowRunContext
from prefect.utilities.urls import url_for


def flow_run() -> tuple[str, str] | None:
    """Id and page of the flow run; None outside of one, and an empty page where no server shows it."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    run_id = str(context.flow_run.id)
    # A temporary server's page would be gone before anybody could look at it: Prefect knows no address for it.
    return run_id, url_for("flow-run", run_id) or ""


def run_name() -> str:
    """A flow run's name: its flow and its surveys, e.g. ``train-decals``; a user's TOML goes by its file name."""
    return label(runtime.flow_run.flow_name, runtime.flow_run.parameters)


def label(flow: str, parameters: Mapping[str, Any]) -> str:
    """Lower-case words and dashes for a flow and the surveys among its parameters."""
    named = [parameters[name] for name in ("survey", "left", "right") if parameters.get(name)]
    surveys = [Path(str(survey)).stem for survey in [*named, *parameters.get("surveys", ())]]
    return re.sub(r"[^a-z0-9]+", "-", "-".join([flow, *surveys]).lower()).strip("-")
