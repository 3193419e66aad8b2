"""The two servers as child processes, with the settings that were found to matter."""

from __future__ import annotations

import os
import socket
import sys
from urllib.parse import urlsplit

from flows.environment import BATCHES, QUIET
from flows.stack.databases import backend_store
from flows.stack.plan import ROOT, StackPlan
from flows.stack.process import MARK, Child

PREFECT_SERVER, MLFLOW_SERVER = "prefect-server", "mlflow-server"


def prefect_server(plan: StackPlan) -> Child:
    """Prefect's API, scheduler and UI, on the database of ``PREFECT_SERVER_DATABASE_CONNECTION_URL``."""
    port = str(plan.prefect.port)
    defaults = {
        "PREFECT_HOME": str(plan.home / "prefect"),
        **BATCHES,
        # The browser asks the API under this address; a client's PREFECT_API_URL must not decide it.
        "PREFECT_SERVER_UI_API_URL": f"{_public(plan, plan.prefect.url)}/api",
        # Notifications link to runs under this one.
        "PREFECT_UI_URL": _public(plan, plan.prefect.url),
        **QUIET,
    }
    environment = defaults | _without("PREFECT_API_URL", "PREFECT_API_AUTH_STRING") | plan.access.of_prefect_server()
    if "PREFECT_UI_API_URL" in os.environ:
        environment.pop("PREFECT_SERVER_UI_API_URL")
    return Child(
        PREFECT_SERVER,
        [sys.executable, "-m", "prefect", "server", "start", "--host", plan.options.host, "--port", port],
        environment | {MARK: str(plan.home), "PYTHONUNBUFFERED": "1"},
        ROOT,
        plan.logs / f"{PREFECT_SERVER}.log",
    )


def mlflow_server(plan: StackPlan) -> Child:
    """MLflow's tracking server, registry and UI, on the database of ``MLFLOW_BACKEND_STORE_URI``.

    Addresses of databases travel in the environment: an argument would show their passwords to every user.
    """
    defaults = {
        "MLFLOW_BACKEND_STORE_URI": backend_store(plan.home, os.environ),
        "MLFLOW_ARTIFACTS_DESTINATION": str(plan.settings.artifact_root),
        # Background jobs take a quarter of a gigabyte for features that gzflow does not use.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # No model of gzflow is a pickle; refuse to load one.
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_WORKERS": "2",
        # A line a request would fill the log with every metric of every night.
        "MLFLOW_UVICORN_OPTS": "--no-access-log",
        **QUIET,
    }
    environment = defaults | _without("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_RUN_ID")
    environment |= plan.access.of_mlflow_server(plan.home, os.environ)
    command = [sys.executable, "-m", "mlflow", "server", "--host", plan.options.host, "--port", str(plan.mlflow.port)]
    return Child(
        MLFLOW_SERVER,
        [*command, "--app-name", "basic-auth"] if plan.access.mlflow else command,
        environment | {MARK: str(plan.home), "PYTHONUNBUFFERED": "1"},
        plan.home,
        plan.logs / f"{MLFLOW_SERVER}.log",
    )


def _public(plan: StackPlan, url: str) -> str:
    """The address as a browser elsewhere would write it."""
    if plan.options.host in {"0.0.0.0", "::"}:  # noqa: S104
        return f"http://{socket.getfqdn()}:{urlsplit(url).port}"
    return url


def _without(*names: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in names}
