"""Prefect's overhead: 40 chunks of 5 s as tasks of a flow, against the same chunks in a plain pool of threads.

A chunk sleeps for exactly 5 s, so whatever is above the pool's time is orchestration: submitting tasks, their states,
progress on the run's page, and the end of the flow. Start-up is not counted: a first flow run has begun the server (an
ephemeral one over SQLite, or one that runs already) and loaded what is loaded once. Both ends are given: "tasks", from
the flow's first line to its last, and "flow", the whole call with the run's creation and its end: there Prefect waits
up to a second for the thread of the run's heartbeat, however many tasks there were.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

from timing import machine

from flows import environment
from gzflow.settings import Settings
from gzflow.stages.counts import Counts, total

if TYPE_CHECKING:
    from collections.abc import Iterator

START_S = 120


def work(seconds: float) -> Counts:
    time.sleep(seconds)
    return Counts(n_in=512, done=512)


def pool(chunks: int, seconds: float, workers: int) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as executor:
        counts = total(executor.map(lambda _: work(seconds), range(chunks)))
    assert counts.done == 512 * chunks
    return time.perf_counter() - start


def flow_seconds(chunks: int, seconds: float, workers: int) -> tuple[float, float]:
    """(tasks, flow): from the flow's first line to its last, and the whole call."""
    from prefect import flow, task
    from prefect.task_runners import ThreadPoolTaskRunner

    from flows.chunks import run_chunks
    from flows.progress import Progress
    from flows.retries import LOCAL

    @task(name="chunk", cache_policy=None, **LOCAL)
    def chunk(seconds: float, settings: Settings) -> Counts:  # noqa: ARG001 - chunks of stages look like this
        return work(seconds)

    @flow(name="overhead", task_runner=ThreadPoolTaskRunner(max_workers=workers))
    def overhead(chunks: int, seconds: float) -> tuple[Counts, float]:
        start = time.perf_counter()
        counts = run_chunks(chunk, [seconds] * chunks, Settings.load(), Progress("overhead", 512 * chunks))
        return counts, time.perf_counter() - start

    overhead(2, 0.0)
    start = time.perf_counter()
    counts, tasks = overhead(chunks, seconds)
    assert counts.done == 512 * chunks
    return tasks, time.perf_counter() - start


@contextmanager
def running_server(home: Path) -> Iterator[str]:
    """The API's address of a server of its own, in a process group of its own."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + START_S
        while not healthy(url):
            assert server.poll() is None, (home / "server.log").read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.5)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def healthy(url: str) -> bool:
    try:
        with urlopen(f"{url}/health", timeout=5) as answer:
            return answer.status == 200
    except (URLError, ConnectionError, TimeoutError):
        return False


def in_a_process(options: argparse.Namespace, api: str | None) -> tuple[float, float]:
    """The flow in a process of its own: Prefect reads its server's address once."""
    command = [sys.executable, __file__, "--flow-only", "--chunks", str(options.chunks)]
    command += ["--seconds", str(options.seconds), "--workers", str(options.workers)]
    server = {"PREFECT_API_URL": api} if api else {}
    done = subprocess.run(command, env=os.environ | server, stdout=subprocess.PIPE, text=True, check=True)
    tasks, whole = json.loads(done.stdout.splitlines()[-1])
    return tasks, whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=2, help="as ingest and shard have")
    parser.add_argument("--flow-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    shape = (options.chunks, options.seconds, options.workers)
    if options.flow_only:
        environment.prepare(Settings.load())
        print(json.dumps(flow_seconds(*shape)))
        return
    os.environ.pop("PREFECT_API_URL", None)
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GZFLOW_HOME"] = folder
        environment.prepare(Settings.load())
        rival = pool(*shape)
        print(f"pool of {options.workers} threads                   {rival:7.2f} s")
        measured = {"ephemeral server": in_a_process(options, None)}
        with running_server(Path(folder)) as url:
            measured["running server"] = in_a_process(options, url)
        for name, (tasks, whole) in measured.items():
            print(
                f"Prefect, {name:<16}  tasks {tasks:7.2f} s, {tasks / rival - 1:+6.2%}"
                f"   flow {whole:7.2f} s, {whole / rival - 1:+6.2%}"
            )
    print(machine())


if __name__ == "__main__":
    main()
