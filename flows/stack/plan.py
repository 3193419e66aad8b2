"""What `gzflow up` is going to start, or every reason why it cannot."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import flows
from flows.environment import QUIET
from flows.stack import endpoint
from flows.stack.access import Access
from flows.stack.endpoint import Endpoint
from flows.stack.options import StackOptions
from flows.stack.process import MARK
from flows.stack.state import StackState
from gzflow.errors import StackError
from gzflow.settings import Settings

ROOT = Path(flows.__file__).parents[1]
"""The checkout: prefect.yaml stands in it, and its deployments name files below it."""


@dataclass(frozen=True)
class StackPlan:
    """Settled addresses, passwords and environment.

    Attributes
    ----------
    clients
        Environment of workers, deployments and whatever else talks to the servers.
    """

    settings: Settings
    options: StackOptions
    access: Access
    prefect: Endpoint
    mlflow: Endpoint
    clients: Mapping[str, str] = field(repr=False)

    @property
    def home(self) -> Path:
        """Everything is kept below it."""
        return self.settings.home

    @property
    def logs(self) -> Path:
        """One file a child."""
        return StackState.folder(self.home) / "logs"


def plan(options: StackOptions, environ: Mapping[str, str] | None = None) -> StackPlan:
    """Decide what to start and what to join.

    Raises
    ------
    StackError
        All problems at once: a busy port, a server that does not answer or refuses the password, no prefect.yaml.
    """
    environ = os.environ if environ is None else environ
    settings = Settings.load(environ)
    access, problems = Access.of(environ)
    if not (ROOT / "prefect.yaml").is_file():
        problems.append(f"no prefect.yaml in {ROOT}: run gzflow from a checkout (pip install -e .)")
    if not (options.on_loopback or options.without_passwords or access.complete):
        problems.append(
            f"--host {options.host} lets others in, and whoever reaches Prefect runs code here: set"
            " PREFECT_SERVER_API_AUTH_STRING=user:password and MLFLOW_AUTH_ADMIN_PASSWORD (docs/operations.md),"
            " or say --without-passwords"
        )
    prefect, mlflow = addresses(options, settings, environ)
    problems += filter(None, (check_address(prefect, "prefect", access), check_address(mlflow, "mlflow", access)))
    problems += check_ports(options, prefect, mlflow)
    if problems:
        raise StackError(
            "the stack cannot start",
            where=str(settings.home),
            problems=problems,
            expected="two free ports, or servers that answer under PREFECT_API_URL and MLFLOW_TRACKING_URI",
            fix="correct these, or unset an address to have a server started; `gzflow up --check` looks further",
        )
    return StackPlan(settings, options, access, prefect, mlflow, _clients(settings, access, prefect, mlflow, environ))


def addresses(options: StackOptions, settings: Settings, environ: Mapping[str, str]) -> tuple[Endpoint, Endpoint]:
    """Where Prefect and MLflow are, or will be."""
    previous = StackState.read(settings.home)
    prefect = endpoint.find(
        environ.get("PREFECT_API_URL"), "/api", options.local_host, options.prefect_port,
        previous.prefect_url if previous else None,
    )  # fmt: skip
    # A database in MLFLOW_TRACKING_URI is what the server is to show, not a server to join.
    given = environ.get("MLFLOW_TRACKING_URI")
    served = given if given and urlsplit(given).scheme in {"http", "https"} else None
    mlflow = endpoint.find(
        served, "", options.local_host, options.mlflow_port, previous.mlflow_url if previous else None
    )
    return prefect, mlflow


def check_address(server: Endpoint, kind: Literal["prefect", "mlflow"], access: Access) -> str | None:
    """Why a server that runs already cannot be joined."""
    name, probe, login = {
        "prefect": ("PREFECT_API_URL", "/admin/version", access.prefect),
        "mlflow": ("MLFLOW_TRACKING_URI", "/api/2.0/mlflow/experiments/search?max_results=1", access.mlflow),
    }[kind]
    if "@" in urlsplit(server.api).netloc:
        return f"{name} contains a password, which would be stored and shown: use the variables for it"
    if server.joined and (problem := server.problem("/health", probe, login)):
        return f"{name}={server.api}: {problem}"
    return None


def check_ports(options: StackOptions, prefect: Endpoint, mlflow: Endpoint) -> list[str]:
    """Ports that are taken or cannot be opened."""
    wanted = {}
    for server, name, option in ((prefect, "Prefect", "--prefect-port"), (mlflow, "MLflow", "--mlflow-port")):
        if not server.joined:
            wanted[option] = (name, server.port)
    problems = [
        f"port {port} for {name} {why}: choose another with {option}, or 0 for a free one"
        for option, (name, port) in wanted.items()
        if (why := _busy(options.host, port))
    ]
    if len(wanted) == 2 and prefect.port == mlflow.port:
        problems.append(f"both servers would use port {prefect.port}")
    return problems


def _busy(host: str, port: int) -> str | None:
    """Why nobody can listen there, None if one can."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is in use"
            return f"cannot be opened on {host} ({error.strerror or error})"
    return None


def _clients(
    settings: Settings, access: Access, prefect: Endpoint, mlflow: Endpoint, environ: Mapping[str, str]
) -> dict[str, str]:
    """What workers inherit, and the flow runs from them: so no password need be stored in a deployment."""
    defaults = {
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_LOGGING_EXTRA_LOGGERS": "gzflow",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        **QUIET,
    }
    fixed = {
        **settings.environment(),
        **access.of_clients(),
        "PREFECT_API_URL": prefect.api,
        "MLFLOW_TRACKING_URI": mlflow.api,
        "PWD": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        MARK: str(settings.home),
    }
    unwanted = {"MLFLOW_RUN_ID", "MLFLOW_AUTH_ADMIN_PASSWORD", "PREFECT_SERVER_API_AUTH_STRING"}
    return defaults | {name: value for name, value in environ.items() if name not in unwanted} | fixed
