"""What is running for a home: written by the supervisor, read by `gzflow down`, a second `gzflow up` and tests."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from gzflow import durable


@dataclass(frozen=True)
class StackState:
    """A running stack.

    Attributes
    ----------
    pid, created
        The supervisor: its process id and start time, which together name one process for ever.
    prefect_url, mlflow_url
        Where to look, e.g. ``http://127.0.0.1:4200``.
    prefect_api
        What ``PREFECT_API_URL`` must be.
    joined
        Which of the servers were running before.
    ports
        What the stack itself listens on.
    passwords
        Names of the variables that a client must set besides the addresses.
    pids
        Process ids by the child's name.
    ready
        Whether everything is up: servers answer, deployments exist, workers started.
    """

    home: str
    pid: int
    created: float
    prefect_url: str
    prefect_api: str
    mlflow_url: str
    joined: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    passwords: tuple[str, ...] = ()
    pids: dict[str, int] = field(default_factory=dict)
    ready: bool = False

    @staticmethod
    def folder(home: Path) -> Path:
        """Where the stack keeps its state and logs."""
        return home / "stack"

    def write(self) -> None:
        """Put it where others look."""
        durable.write_json(self.folder(Path(self.home)) / "state.json", asdict(self))

    @classmethod
    def read(cls, home: Path) -> StackState | None:
        """The last stack of this home, running or not; None if there was none, or its file is of another version."""
        try:
            found = json.loads((cls.folder(home) / "state.json").read_text("utf-8"))
            return cls(**found)
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def supervisor(self) -> psutil.Process | None:
        """The supervisor if it is alive."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if same else None

    def exports(self) -> str:
        """What to type in another terminal before anything else."""
        lines = [
            f"export PREFECT_API_URL={self.prefect_api}",
            f"export MLFLOW_TRACKING_URI={self.mlflow_url}",
            f"export GZFLOW_HOME={self.home}",
            *(f"export {name}=...                # as for `gzflow up`" for name in self.passwords),
        ]
        return "\n".join(lines)
