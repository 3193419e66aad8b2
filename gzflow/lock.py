"""One process at a time in a folder; a lock that dies with its holder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from gzflow.errors import Busy

LOCK = ".lock"
PATIENCE_S = 30.0
"""Long enough for what a killed process left to die: loader workers notice their parent's death within seconds."""


@contextmanager
def exclusive(folder: Path, doing: str, *, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the folder's lock; it is made if need be.

    The kernel lets go of the lock when its holder ends, however it ends: after kill -9 there is nothing to clean up.

    Parameters
    ----------
    doing
        What is done meanwhile, for the message that another process gets: "training decals".
    patience_s
        Seconds to wait for the holder.

    Raises
    ------
    Busy
        The holder kept it; says who that is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    # Opened without truncation: the holder's own description stands in it.
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+", encoding="utf-8") as stream:
        _take(stream, path, patience_s)
        stream.truncate(0)
        json.dump({"doing": doing, "pid": os.getpid(), "host": socket.gethostname(), "since": _now()}, stream)
        stream.flush()
        yield


def _take(stream: IO[str], path: Path, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise _busy(path) from None
            time.sleep(0.1)
        else:
            return


def _busy(path: Path) -> Busy:
    try:
        holder = json.loads(path.read_text("utf-8"))
        who = f"{holder['doing']}: process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError):
        who = "its holder has not said what it does"
    return Busy(
        "another process works in this folder",
        where=str(path.parent),
        problems=[who],
        expected="one at a time: two would write the same files",
        fix="wait until it ends, or stop it; then run the same command again",
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
