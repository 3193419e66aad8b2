"""Writing files while others are still on their way: many at a time, so that a disk is asked once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from gzflow.durable import write_many

BATCH = 256
BATCH_S = 0.5
"""The longest that a file waits for others; as much work is lost by kill -9."""

T = TypeVar("T")


class Keeper(Generic[T]):
    """Takes files from many coroutines and reports each once it will survive a power cut.

    Parameters
    ----------
    on_kept
        Called in the event loop's thread with what was handed over beside each file, in batches.
    """

    def __init__(self, on_kept: Callable[[Sequence[T]], None]) -> None:
        self._on_kept = on_kept
        # Bounded: where the disk is slower than the services, the services wait.
        self._queue: asyncio.Queue[tuple[Path, bytes, T] | None] = asyncio.Queue(maxsize=2 * BATCH)

    async def keep(self, path: Path, content: bytes, what: T) -> None:
        """Hand over a file."""
        await self._queue.put((path, content, what))

    async def close(self) -> None:
        """Nothing more will come; `run` returns when all is kept."""
        await self._queue.put(None)

    async def run(self) -> None:
        """Write until closed.

        Raises
        ------
        OSError
            A file cannot be written; those of earlier batches are whole.
        """
        ended = False
        while not ended:
            batch, ended = await self._batch()
            if batch:
                await asyncio.to_thread(write_many, {path: content for path, content, _ in batch})
                self._on_kept([what for _, _, what in batch])

    async def _batch(self) -> tuple[list[tuple[Path, bytes, T]], bool]:
        batch: list[tuple[Path, bytes, T]] = []
        try:
            # The first may take as long as it takes; the others are waited for a moment.
            async with asyncio.timeout(None) as limit:
                while len(batch) < BATCH:
                    if (entry := await self._queue.get()) is None:
                        return batch, True
                    if not batch:
                        limit.reschedule(asyncio.get_running_loop().time() + BATCH_S)
                    batch.append(entry)
        except TimeoutError:
            pass
        return batch, False
