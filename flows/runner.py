"""Where the chunks of a flow run: in threads of its own process, or on a Dask cluster; one setting decides."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any

from prefect.context import FlowRunContext
from prefect.task_runners import ThreadPoolTaskRunner

from flows.stopping import told
from gzflow.errors import SettingsError

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner

    from flows.cluster import ClusterRunner

SETTING = "GZFLOW_TASK_RUNNER"
THREADS, DASK = "threads", "dask"
SCHEMES = ("tcp://", "tls://")


class Threads(ThreadPoolTaskRunner):
    """Prefect's threads, which after a signal are not waited for: one may be asleep until its next try."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go of the threads."""
        pool: ThreadPoolExecutor | None = self.__dict__["_executor"]
        if told() and pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
            self._executor = None  # Prefect would wait for it
        super().__exit__(kind, error, traceback)


def task_runner(threads: int) -> TaskRunner[PrefectFuture[Any]]:
    """The task runner that ``GZFLOW_TASK_RUNNER`` names; a flow takes it when its module is imported.

    ``threads`` (the default), ``dask`` for a temporary cluster with a worker a core, ``dask:4`` for one with four
    workers, or the address of a Dask scheduler that runs: ``tcp://host:8786``, ``tls://host:8786``.

    Parameters
    ----------
    threads
        Chunks at a time without a cluster; a cluster's own threads decide otherwise.

    Raises
    ------
    SettingsError
        Another word, or Dask is not installed.
    """
    chosen = os.environ.get(SETTING) or THREADS
    if chosen == THREADS:
        return Threads(max_workers=threads)
    kind, _, workers = chosen.partition(":")
    address = chosen if chosen.startswith(SCHEMES) else None
    if address is None and not (kind == DASK and (workers.isdigit() or chosen == DASK) and workers != "0"):
        raise SettingsError(
            f"{SETTING} is {chosen!r}",
            expected=f"{THREADS}, {DASK}, {DASK}:<workers>, or a scheduler's address such as tcp://host:8786",
            fix=f"correct or unset {SETTING}",
        )
    if find_spec("prefect_dask") is None:
        raise SettingsError(
            f"{SETTING} is {chosen!r}, and Dask is not installed",
            expected="the extra dask",
            fix=f"pip install 'gzflow[dask]', or unset {SETTING}",
        )
    from flows.cluster import ClusterRunner

    if address:
        return ClusterRunner(address=address)
    n_workers = int(workers) if workers else os.cpu_count() or 1
    # Without dashboard: a temporary cluster is gone before anybody has looked, and its port may be another program's.
    return ClusterRunner(cluster_kwargs={"n_workers": n_workers, "threads_per_worker": 1, "dashboard_address": None})


@contextmanager
def turn(name: str) -> Iterator[None]:
    """Wait on a Dask cluster until no other chunk holds `name`; in threads of one process there is nothing to wait for.

    What a process counts by itself, such as requests a second, would be spent by each worker of a cluster otherwise.
    """
    cluster = _cluster()
    if cluster is None:
        yield
    else:
        with cluster.turn(name):
            yield


def everywhere(call: Callable[[], Any]) -> None:
    """Call a function once in each worker of a Dask cluster; without one there are no others."""
    cluster = _cluster()
    if cluster is not None:
        cluster.everywhere(call)


def _cluster() -> ClusterRunner | None:
    """The cluster that the flow run around this code uses, in its own process and in those of the workers."""
    context = FlowRunContext.get()
    runner = context.task_runner if context is not None else None
    if runner is None or isinstance(runner, ThreadPoolTaskRunner):
        return None
    from flows.cluster import ClusterRunner

    return runner if isinstance(runner, ClusterRunner) else None
