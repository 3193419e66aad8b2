"""The process's exchange with cutout services: one event loop in a thread of its own, which all chunks share.

So connections stay open from chunk to chunk, a rate is the process's rate however many chunks fetch at a time, and what
one chunk learnt of a host that fails is known to all.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Coroutine, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from gzflow.cutouts.fetch import Fetched, Target, fetch_cutouts
from gzflow.cutouts.host import Hosts
from gzflow.recipe import CutoutSpec

BATCH = 512
BATCH_S = 1.0
"""A batch is handed on when it is this large or this old."""
_CLOSE_S = 10.0

T = TypeVar("T")


class Exchange:
    """A running event loop and its hosts.

    Threads of any number may use it. `close` ends what is left.

    Parameters
    ----------
    first_pause_s
        Seconds before a host that fails for everyone is tried again; each further pause is twice as long.
    """

    def __init__(self, *, first_pause_s: float = 15.0) -> None:
        self._loop = asyncio.new_event_loop()
        # Decoding and checksums, mostly outside the interpreter's lock; writing waits for the disk.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._loop.set_default_executor(ThreadPoolExecutor(cores + 2, thread_name_prefix="gzflow-cutouts"))
        self._thread = threading.Thread(target=self._run, name="gzflow-exchange", daemon=True)
        self._thread.start()
        self._hosts = self._call(_hosts(first_pause_s))

    def fetch(
        self,
        targets: Sequence[Target],
        spec: CutoutSpec,
        folder: Path,
        *,
        recipe_name: str = "as-delivered",
        contact: str | None = None,
    ) -> Generator[list[Fetched]]:
        """Galaxies in batches as their files are on disk, in any order; see `gzflow.cutouts.fetch.fetch_cutouts`.

        Leaving the loop early stops what is on its way. What is logged meanwhile belongs to the caller's context.
        """
        arrived: SimpleQueue[Fetched | None] = SimpleQueue()

        async def job() -> None:
            try:
                await fetch_cutouts(
                    targets,
                    spec,
                    folder,
                    recipe_name=recipe_name,
                    contact=contact,
                    hosts=self._hosts,
                    on_done=arrived.put,
                )
            finally:
                arrived.put(None)

        future = asyncio.run_coroutine_threadsafe(job(), self._loop)
        ended = False
        try:
            while not ended:
                batch, ended = _batch(arrived)
                if batch:
                    yield batch
            future.result()
        finally:
            if not ended and future.cancel():
                _drain(arrived)

    def given_up(self, spec: CutoutSpec) -> bool:
        """Whether a host of that service failed for everyone for longer than its patience."""
        return self._hosts.given_up(spec)

    def forget_troubles(self) -> None:
        """Believe in every host again."""
        self._call(_calling(self._hosts.forget))

    def close(self) -> None:
        """Close all connections and end the thread."""
        self._call(self._hosts.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    def _call(self, job: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(job, self._loop).result(_CLOSE_S)


_lock = threading.Lock()
_current: Exchange | None = None


def exchange() -> Exchange:
    """The process's exchange, begun at its first use."""
    global _current  # noqa: PLW0603 - one a process is the point
    with _lock:
        if _current is None:
            _current = Exchange()
        return _current


def begun() -> Exchange | None:
    """The process's exchange if anything was fetched yet."""
    return _current


def _end() -> None:
    if _current is not None:
        _current.close()


def _forget() -> None:
    # A forked child has the object but not the thread.
    global _current, _lock
    _lock, _current = threading.Lock(), None


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


async def _hosts(first_pause_s: float) -> Hosts:
    return Hosts(first_pause_s=first_pause_s)  # here, because it belongs to the loop that runs


async def _calling(call: Any) -> None:
    call()


def _batch(arrived: SimpleQueue[Fetched | None]) -> tuple[list[Fetched], bool]:
    """What arrives within `BATCH_S` of the first one, and whether it was the end."""
    batch: list[Fetched] = []
    until = 0.0
    while len(batch) < BATCH:
        try:
            fetched = arrived.get() if not batch else arrived.get(timeout=max(0.0, until - time.monotonic()))
        except Empty:
            break
        if fetched is None:
            return batch, True
        until = until or time.monotonic() + BATCH_S
        batch.append(fetched)
    return batch, False


def _drain(arrived: SimpleQueue[Fetched | None]) -> None:
    """Wait until a cancelled job has ended, so that nothing of it is written any more."""
    try:
        while arrived.get(timeout=_CLOSE_S) is not None:
            pass
    except Empty:
        pass
