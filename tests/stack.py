"""A running stack for tests: free ports, a home of its own, and nothing left afterwards.

from tests.stack import running_stack

with running_stack(tmp_path / "home") as stack:
    stack.prefect("deployment", "run", "pipeline/demo", "--watch")
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.stack.process import MARK, marked
from flows.stack.state import StackState

ROOT = Path(__file__).parents[1]
START_S = 600


@dataclass(frozen=True)
class Stack:
    """What `gzflow up` started.

    Attributes
    ----------
    environment
        Of a user's other terminal: the exports that `gzflow up` prints are in it, passwords too.
    """

    home: Path
    environment: Mapping[str, str]

    @property
    def state(self) -> StackState:
        state = StackState.read(self.home)
        assert state is not None
        return state

    @property
    def prefect_url(self) -> str:
        return self.state.prefect_url

    @property
    def mlflow_url(self) -> str:
        return self.state.mlflow_url

    def gzflow(self, *words: str | Path, check: bool = True, timeout: float = START_S):
        """Run `gzflow ...` as in another terminal."""
        return _run("flows.cli", words, self.environment, check=check, timeout=timeout)

    def prefect(self, *words: str | Path, check: bool = True, timeout: float = START_S):
        """Run `prefect ...` as in another terminal."""
        return _run("prefect", words, self.environment, check=check, timeout=timeout)

    def logs(self) -> str:
        """The end of every log."""
        folder = StackState.folder(self.home) / "logs"
        return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in sorted(folder.glob("*.log")))


@contextmanager
def running_stack(home: Path, *words: str, **environ: str) -> Iterator[Stack]:
    """`gzflow up --background` on free ports with the environment's `environ` added; `gzflow down` at the end."""
    environment = user_environment(home, **environ)
    stack = Stack(home, environment)
    ports = ("--prefect-port", "0", "--mlflow-port", "0")
    try:
        done = stack.gzflow("up", "--background", *ports, *words, check=False)
        if done.returncode:
            raise AssertionError(f"{done.stdout}\n{done.stderr}\n{stack.logs()}")
        state = stack.state
        own = {"PREFECT_API_URL": state.prefect_api, "MLFLOW_TRACKING_URI": state.mlflow_url}
        yield Stack(home, environment | own)
    finally:
        stack.gzflow("down")
        assert [process.cmdline() for process in marked(home)] == []


def user_environment(home: Path, **environ: str) -> dict[str, str]:
    """A shell's environment without a trace of other servers; Prefect's own files are kept in `home` as well."""
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "MLFLOW_", "GZFLOW_")) and name != MARK
    }
    own = {"GZFLOW_HOME": str(home), "PREFECT_HOME": str(home / "prefect"), "COLUMNS": "200"}
    return plain | own | {"OMP_NUM_THREADS": "1"} | environ


def _run(module: str, words, environment: Mapping[str, str], *, check: bool, timeout: float):
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        capture_output=True, text=True, env=dict(environment), check=False, timeout=timeout, cwd=ROOT,
    )  # fmt: skip
    if check and done.returncode:
        raise AssertionError(f"{module} {' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}")
    return done
