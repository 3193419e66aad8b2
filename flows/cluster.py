"""A Dask cluster as task runner of a flow. Imported by flows.runner alone, and only when a cluster is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import distributed
from prefect import Task
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

from gzflow.errors import SettingsError, StackError

_HERE = {"127.0.0.1", "localhost", "::1"}


class ClusterRunner(DaskTaskRunner):
    """prefect-dask's runner, whose workers find the Prefect server, and whose cluster is checked before work begins.

    Takes the same arguments. A task whose worker dies runs again on another one, which finds what was done: every
    chunk of gzflow may be run twice. After three deaths (Dask's ``distributed.scheduler.allowed-failures``) the task
    counts as failed, its neighbours end first.
    """

    def submit(
        self,
        task: Task[..., Any],
        parameters: dict[str, Any],
        wait_for: Iterable[Any] | None = None,
        dependencies: dict[str, Any] | None = None,
    ) -> PrefectDaskFuture[Any]:
        """Hand a task to the cluster.

        Raises
        ------
        StackError
            No scheduler answers there.
        SettingsError
            The scheduler's workers could not reach this flow's temporary Prefect server.
        """
        self.connect()
        with self._server():
            return super().submit(task, parameters, wait_for, dependencies)

    def connect(self) -> Any:
        """The client of the cluster, which is started or looked for at the first call."""
        try:
            return self.client
        except (OSError, TimeoutError) as error:
            raise StackError(
                "no Dask scheduler answers",
                where=f"GZFLOW_TASK_RUNNER={self.address or 'dask'}",
                problems=[str(error)],
                expected="a scheduler and workers (`dask scheduler`, `dask worker ADDRESS`)",
                fix="start them or correct the address; GZFLOW_TASK_RUNNER=threads needs none",
            ) from error

    def everywhere(self, call: Callable[[], Any]) -> None:
        """Call a function in each worker that there is now."""
        self.connect().run(call)

    @staticmethod
    def turn(name: str) -> AbstractContextManager[Any]:
        """A lease that one task of the whole cluster holds at a time; a dead worker's runs out within seconds."""
        return distributed.Semaphore(max_leases=1, name=name)

    @contextmanager
    def _server(self) -> Iterator[None]:
        """Tell workers where the server of this flow is: each would start a temporary one of its own otherwise."""
        context = FlowRunContext.get()
        if PREFECT_API_URL.value() or context is None:
            yield
            return
        if self.address and urlsplit(self.address).hostname not in _HERE:
            raise SettingsError(
                "the workers of this Dask cluster cannot reach a temporary Prefect server",
                where=f"GZFLOW_TASK_RUNNER={self.address}, no PREFECT_API_URL",
                expected="a Prefect server that every machine of the cluster reaches",
                fix="start one with `gzflow up --host ...` and set PREFECT_API_URL (docs/operations.md)",
            )
        with temporary_settings({PREFECT_API_URL: str(context.client.api_url)}):
            yield
