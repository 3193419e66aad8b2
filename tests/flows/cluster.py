"""A Dask scheduler and workers as processes of their own, as they run on a cluster; none outlives the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import distributed

from flows.cluster import ClusterRunner
from tests.flows.prefect_server import wait_for


def spell(folder: str, number: int) -> None:
    """Note when a turn began and ended, in a worker."""
    with ClusterRunner.turn("a host"):
        start = time.monotonic()
        time.sleep(0.1)
        (Path(folder) / str(number)).write_text(f"{start} {time.monotonic()}")


class Cluster:
    """`dask scheduler` and `dask worker`s of one thread each, without nannies: a worker that is killed stays dead."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = dict(environment)
        self.file = folder / "scheduler.json"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._popen("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        wait_for(self.file.is_file, 200, "the scheduler wrote its address")
        self.client = distributed.Client(scheduler_file=str(self.file), set_as_default=False)
        self.address = str(self.client.scheduler.address)

    def worker(self) -> None:
        self._popen("worker", "--host", "127.0.0.1", "--no-nanny", "--no-dashboard", "--nthreads", "1")

    def wait_for_workers(self, n: int) -> None:
        self.client.wait_for_workers(n, timeout=200)
        self._pids: Mapping[str, int] = self.client.run(os.getpid)

    def kill_one_at_work(self, on: str, seconds: float) -> str:
        """Kill -9 the process of a worker as soon as it works on a task of that name; the task's key."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for address, keys in self.client.processing().items():
                busy = [key for key in keys if str(key).startswith(on)]
                if busy:
                    os.kill(self._pids[address], signal.SIGKILL)
                    return str(busy[0])
            time.sleep(0.005)
        raise AssertionError(f"no worker worked on {on} within {seconds:g} s")

    def close(self) -> None:
        self.client.close()
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def _popen(self, what: str, *arguments: str) -> None:
        with (self.folder / f"{what}.log").open("ab") as log:
            words = [
                sys.executable,
                "-m",
                f"distributed.cli.dask_{what}",
                "--scheduler-file",
                str(self.file),
                *arguments,
            ]
            self._processes.append(
                subprocess.Popen([*words, *arguments], env=self.environment, cwd=self.folder, stdout=log, stderr=log)
            )


@contextmanager
def cluster(folder: Path, environment: Mapping[str, str], n_workers: int) -> Iterator[Cluster]:
    """A running cluster."""
    made = Cluster(folder, environment)
    try:
        for _ in range(n_workers):
            made.worker()
        made.wait_for_workers(n_workers)
        yield made
    finally:
        made.close()
