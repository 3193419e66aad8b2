"""How a command that is told to stop ends: in order, and soon, also while its chunks wait for minutes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from gzflow.terminal import stop_behind

GRACE_S = 10.0
"""What chunks that are running get to end by themselves; what they leave undone the next run does."""
_told = threading.Event()


@contextmanager
def heard() -> Iterator[None]:
    """Around the wait for chunks: a signal leaves it as what it is, whatever the code that it struck made of it.

    A lock that a signal interrupts says "release unlocked lock", which Prefect would take for the flow's own failure.
    """
    with suppress(ValueError):  # in a thread there are no signals to care for
        # polars puts a handler of its own under Python's at its first query, which keeps Ctrl-C to itself.
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))
    try:
        yield
    except BaseException as error:
        if (stop := stop_behind(error)) is None:
            raise
        _told.set()
        if stop is error:
            raise
        raise stop from None


def told() -> bool:
    """Whether a signal came while chunks were running."""
    return _told.is_set()


def leave(code: int) -> NoReturn:
    """Exit; after a signal in `GRACE_S` at the latest, for Python itself would wait for every thread."""
    if told():
        deadline = time.monotonic() + GRACE_S
        me = threading.current_thread()
        working = [thread for thread in threading.enumerate() if not thread.daemon and thread is not me]
        for thread in working:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in working):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # the guardian ends Prefect's temporary server
    sys.exit(code)
