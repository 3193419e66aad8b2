"""Who may talk to the servers: passwords come from the environment and are handed on through it alone."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from gzflow import durable

PREFECT_VARIABLES = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING")
PASSWORD_VARIABLES = ("MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_TRACKING_PASSWORD")
USER_VARIABLES = ("MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_TRACKING_USERNAME")
SHORTEST = 12
"""Characters: MLflow's own rule."""


@dataclass(frozen=True)
class Access:
    """Basic authentication of both servers; None where there is none.

    Attributes
    ----------
    prefect
        ``(user, password)``.
    mlflow
        ``(user, password)`` of the administrator, whom gzflow's own workers are as well.
    """

    prefect: tuple[str, str] | None = field(default=None, repr=False)
    mlflow: tuple[str, str] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> tuple[Access, list[str]]:
        """What the environment sets up, and what is wrong with it."""
        problems = []
        for names in (PREFECT_VARIABLES, PASSWORD_VARIABLES, USER_VARIABLES):
            if len({environ[name] for name in names if environ.get(name)}) > 1:
                problems.append(f"{' and '.join(names)} differ: the stack's own workers could not log in")
        prefect = mlflow = None
        if auth := _first(environ, PREFECT_VARIABLES):
            user, _, password = auth.partition(":")
            if not (user and password):
                problems.append("PREFECT_SERVER_API_AUTH_STRING is not user:password")
            prefect = (user, password)
        if secret := _first(environ, PASSWORD_VARIABLES):
            if len(secret) < SHORTEST:
                problems.append(f"MLFLOW_AUTH_ADMIN_PASSWORD is shorter than MLflow accepts: {SHORTEST} characters")
            mlflow = (_first(environ, USER_VARIABLES) or "admin", secret)
            if find_spec("flask_wtf") is None:
                problems.append("MLflow's authentication needs a package: pip install 'gzflow[auth]'")
        return cls(prefect, mlflow), problems

    @property
    def complete(self) -> bool:
        """Whether both servers ask for a password."""
        return self.prefect is not None and self.mlflow is not None

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of what a client must set besides the addresses."""
        names = ("PREFECT_API_AUTH_STRING",) if self.prefect else ()
        return (*names, "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD") if self.mlflow else names

    def of_clients(self) -> dict[str, str]:
        """Environment of workers and of everything else that asks the servers."""
        found = {}
        if self.prefect:
            found["PREFECT_API_AUTH_STRING"] = ":".join(self.prefect)
        if self.mlflow:
            found["MLFLOW_TRACKING_USERNAME"], found["MLFLOW_TRACKING_PASSWORD"] = self.mlflow
        return found

    def of_prefect_server(self) -> dict[str, str]:
        """Environment of the Prefect server."""
        return {"PREFECT_SERVER_API_AUTH_STRING": ":".join(self.prefect)} if self.prefect else {}

    def of_mlflow_server(self, home: Path, environ: Mapping[str, str]) -> dict[str, str]:
        """Environment of the MLflow server; its configuration is written under `home`, readable to the user alone."""
        if self.mlflow is None:
            return {}
        user, password = self.mlflow
        return {
            "MLFLOW_AUTH_CONFIG_PATH": environ.get("MLFLOW_AUTH_CONFIG_PATH") or str(_configuration(home, user)),
            "MLFLOW_AUTH_ADMIN_USERNAME": user,
            "MLFLOW_AUTH_ADMIN_PASSWORD": password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": environ.get("MLFLOW_FLASK_SERVER_SECRET_KEY") or _session_key(home),
        }


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((environ[name] for name in names if environ.get(name)), None)


def _configuration(home: Path, user: str) -> Path:
    # The password is not in it: MLflow takes it from the environment.
    path, users = home / "mlflow" / "basic_auth.ini", home / "mlflow" / "basic_auth.db"
    users.parent.mkdir(parents=True, exist_ok=True)
    users.touch(mode=0o600)
    text = (
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = sqlite:///{str(users).replace('%', '%%')}\n"
        f"admin_username = {user.replace('%', '%%')}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    _write_private(path, text)
    return path


def _session_key(home: Path) -> str:
    """The key that signs browser sessions: the same at every start, or everybody is logged out."""
    path = home / "mlflow" / "session-key"
    if not path.exists():
        _write_private(path, secrets.token_urlsafe(48))
    return path.read_text("utf-8")


def _write_private(path: Path, text: str) -> None:
    with durable.replacing(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(text, "utf-8")
