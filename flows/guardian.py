"""Nothing that a command started outlives it, not even after kill -9."""

from __future__ import annotations

import os
import signal
import time
from uuid import uuid4

MARK = "GZFLOW_COMMAND"
"""In the environment of everything that the command starts."""
PATIENCE_S = 5.0
"""What ends in order has ended by then."""


def guard() -> None:
    """Fork a process that waits for the end of this one, and then ends what is left of it.

    Above all Prefect's temporary server: Prefect ends it when Python exits, and a process that is killed does not exit.
    Call it before any thread is started.
    """
    mark, parent = uuid4().hex, os.getpid()
    os.environ[MARK] = mark
    if os.fork() == 0:
        try:
            _outlive(parent)
            _end(mark)
        finally:
            os._exit(0)  # nothing of the parent's, such as buffers and exit functions, is this process's to finish


def _outlive(parent: int) -> None:
    # Ctrl-C and a closed terminal reach the whole group: this process goes last.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Whoever reads the command's output waits until nobody holds its end of the pipe.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    while os.getppid() == parent:
        time.sleep(0.5)


def _end(mark: str) -> None:
    import psutil

    left = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                left.append(process)
        except psutil.Error:  # it has just ended, or is another user's
            continue
    for stop in (psutil.Process.terminate, psutil.Process.kill):
        _, left = psutil.wait_procs(left, timeout=PATIENCE_S)
        for process in left:
            try:
                stop(process)
            except psutil.NoSuchProcess:
                continue
