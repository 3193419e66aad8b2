"""Consideration for cutout services beyond one process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_API_URL

from flows import runner

SLOTS = 1
"""Processes that may ask a host at a time: each keeps the survey's rate by itself, and two would be twice as fast."""


def limit_name(host: str) -> str:
    """The Prefect server's global concurrency limit for a host; a character that Prefect refuses becomes a dash."""
    return "gzflow-cutouts-" + "".join("-" if character in "/%&><" else character for character in host)


@contextmanager
def turn(host: str) -> Iterator[None]:
    """Wait until no other process asks the host, on whatever worker of the Prefect server or node of a Dask cluster.

    A command on its own has nobody to share with. Chunks of one process share its turn.
    """
    with runner.turn(limit_name(host)):
        if runtime.deployment.id is None and not PREFECT_API_URL.value():
            yield
        else:
            with _turns.of(limit_name(host)):
                yield


class _Turns:
    """The limits that this process holds, each by a thread as long as any chunk needs it.

    A slot is a lease: what a killed process held becomes free by itself after five minutes, which a limit by task tag
    would never do.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, _Slot] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Hold the limit, together with the other chunks of this process that do."""
        with self._lock:
            slot = self._held.get(name) or _Slot(name)
            self._held[name] = slot
            slot.users += 1
        try:
            slot.wait()
            yield
        finally:
            with self._lock:
                slot.users -= 1
                last = slot.users == 0
                if last:
                    del self._held[name]
            if last:
                slot.release()


class _Slot:
    """One slot of a limit, taken and given back by a thread of its own: Prefect ties a lease to the thread."""

    def __init__(self, name: str) -> None:
        self.users = 0
        self._name = name
        self._error: BaseException | None = None
        self._ready, self._over = threading.Event(), threading.Event()
        # What is logged about the lease belongs to the flow run that asked first.
        context = copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._hold,), name=name, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when the slot is there, and raise what prevented it."""
        self._ready.wait()
        if self._error is not None:
            raise self._error

    def release(self) -> None:
        """Give it back."""
        self._over.set()
        self._thread.join()

    def _hold(self) -> None:
        try:
            ensure(self._name)
            with concurrency(self._name):
                self._ready.set()
                self._over.wait()
        except BaseException as error:  # noqa: BLE001 - raised where the slot is waited for
            self._error = error
        finally:
            self._ready.set()


def ensure(name: str, slots: int = SLOTS) -> None:
    """Make the limit where it is missing; one that somebody changed in the UI stays as it is."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            try:
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=slots))
            except ObjectAlreadyExists:  # another process was faster
                return


_turns = _Turns()
