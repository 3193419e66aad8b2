"""A real Prefect server with workers, on a free port and in a folder of its own; it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from tests.ports import free_port

T = TypeVar("T")
REPOSITORY = Path(__file__).parents[2]


def wait_for(look: Callable[[], T], seconds: float, what: str, *, every: float = 0.2) -> T:
    """What `look` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(every)
    return found


class PrefectServer:
    """`prefect server start`, and what tests ask of it over HTTP.

    Everything that it starts is a session of its own, found again by an environment variable and killed at the end.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.port = free_port()
        self.ui = f"http://127.0.0.1:{self.port}"
        self.api = f"{self.ui}/api"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
        self.env = (
            kept
            | {
                "GZFLOW_HOME": str(self.home),
                "GZFLOW_CATALOG_URL": f"sqlite:///{self.home / 'catalog.db'}",
                "MLFLOW_TRACKING_URI": f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "DO_NOT_TRACK": "1",
                "NO_ALBUMENTATIONS_UPDATE": "1",
                "OMP_NUM_THREADS": "1",
                "PREFECT_HOME": str(folder / "prefect"),
                "PREFECT_API_URL": self.api,
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
                "PREFECT_LOGGING_EXTRA_LOGGERS": "gzflow",
                "PREFECT_WORKER_QUERY_SECONDS": "1",
                "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
                "GZFLOW_TEST_SERVER": str(folder),
            }
            | environment
        )
        self.workers: list[subprocess.Popen[bytes]] = []
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.popen("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port), log="server.log")
        wait_for(self._healthy, 120, "the server answers")

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.api}/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def popen(self, module: str, *arguments: str, log: str) -> subprocess.Popen[bytes]:
        """``python -m module ...`` in a session of its own."""
        with (self.folder / log).open("ab") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=self.env, cwd=REPOSITORY, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        self._started.append(process)
        return process

    def run(self, *command: str) -> str:
        """What ``python -m ...`` prints."""
        return self._python("-m", *command)

    def python(self, code: str, *arguments: str) -> str:
        """What ``python -c ...`` prints."""
        return self._python("-c", code, *arguments)

    def _python(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            env=self.env, cwd=REPOSITORY, capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(f"{' '.join(words)}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def worker(self, pool: str) -> subprocess.Popen[bytes]:
        """A process worker of a pool that is made on the way."""
        self.run("prefect", "work-pool", "create", pool, "--type", "process", "--overwrite")
        self.workers.append(self.popen("prefect", "worker", "start", "--pool", pool, log="worker.log"))
        return self.workers[-1]

    def deploy(self, entrypoint: str, name: str, pool: str, **parameters: Any) -> str:
        """Id of a deployment of a flow of this checkout, tagged like those of prefect.yaml."""
        code = (
            "import json, sys; from prefect import flow; _, folder, entrypoint, name, pool, parameters = sys.argv\n"
            "deployed = flow.from_source(folder, entrypoint=entrypoint).deploy(\n"
            "    name, work_pool_name=pool, parameters=json.loads(parameters), tags=['gzflow'],\n"
            "    print_next_steps=False)\n"
            "print(deployed)"
        )
        words = (str(REPOSITORY), entrypoint, name, pool, json.dumps(parameters))
        return self.python(code, *words).split()[-1]

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.api}/{path}", timeout=30).raise_for_status().json()

    def post(self, path: str, **body: Any) -> Any:
        for _ in range(5):
            answer = httpx.post(f"{self.api}/{path}", json=body, timeout=30)
            if answer.status_code != 503:  # its SQLite is busy; Prefect's own client asks again too
                break
            time.sleep(1)
        return answer.raise_for_status().json() if answer.content else None

    def submit(self, deployment: str, **parameters: Any) -> str:
        """Id of a new flow run, as the UI makes it."""
        return str(self.post(f"deployments/{deployment}/create_flow_run", parameters=parameters)["id"])

    def flow_run(self, run: str) -> Any:
        return self.get(f"flow_runs/{run}")

    def state(self, run: str) -> str:
        return str(self.flow_run(run)["state_type"])

    def wait_for_state(self, run: str, *states: str, seconds: float) -> Any:
        """The flow run, once it is in one of the states."""

        def look() -> Any:
            found = self.flow_run(run)
            return found if found["state_type"] in states else None

        try:
            return wait_for(look, seconds, f"{run} is {' or '.join(states)}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.flow_run(run)['state']}\n{self.logs(run)}") from None

    def logs(self, run: str) -> str:
        found = self.post("logs/filter", logs={"flow_run_id": {"any_": [run]}}, sort="TIMESTAMP_ASC")
        return "\n".join(entry["message"] for entry in found)

    def artifacts(self, run: str) -> list[Any]:
        return list(self.post("artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}}))

    def events(self, name: str) -> list[Any]:
        found = self.post("events/filter", filter={"event": {"name": [name]}}, limit=50)
        return list(found["events"])

    def processes(self, **environment: str) -> list[psutil.Process]:
        """Living processes of this server's making whose environment has these variables."""
        wanted = {"GZFLOW_TEST_SERVER": str(self.folder)} | environment
        return [process for process in psutil.process_iter() if _has(process, wanted)]

    def flow_process(self, run: str) -> psutil.Process | None:
        """The process that works on a flow run."""
        found = self.processes(PREFECT__FLOW_RUN_ID=run)
        ids = {process.pid for process in found}
        return next((process for process in found if process.ppid() not in ids), None)

    def stop(self) -> None:
        """End everything, the server last and politely, so that its database is closed."""
        for process in reversed(self._started):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._started:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for left in self.processes():
            left.kill()
        wait_for(lambda: not self.processes(), 60, "no process is left")


def _has(process: psutil.Process, wanted: Mapping[str, str]) -> bool:
    try:
        environment = process.environ()
        return process.status() != psutil.STATUS_ZOMBIE and all(environment.get(k) == v for k, v in wanted.items())
    except (psutil.Error, OSError):
        return False


@contextmanager
def prefect_server(folder: Path, **environment: str) -> Iterator[PrefectServer]:
    """A running server with no worker yet."""
    server = PrefectServer(folder, **environment)
    try:
        server.start()
        yield server
    finally:
        server.stop()
