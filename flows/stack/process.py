"""A child process that cannot outlive its supervisor, and how to find whatever it started."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MARK = "GZFLOW_STACK"
"""Every process of a stack carries its home under this name in its environment, and so do their descendants, whatever
session or group they move to."""
PR_SET_PDEATHSIG = 1
LARGEST_LOG = 20 * 2**20
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass
class Child:
    """A server, a worker, or a command that ends by itself.

    Attributes
    ----------
    name
        As messages and the log file name it.
    log
        Standard output and standard error, appended.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it in a session of its own: a terminal's Ctrl-C reaches the supervisor alone, which stops in order.

        Call it from the main thread: the kernel counts the end of the starting thread as the parent's end.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LARGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603  the commands are gzflow's own
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(self.environment),
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509  the supervisor has one thread
            )

    @property
    def pid(self) -> int | None:
        """Its process id, once started."""
        return self.process.pid if self.process else None

    def ended(self) -> int | None:
        """Its exit status, None while it runs."""
        return self.process.poll() if self.process else None

    def last_words(self, lines: int = 8) -> list[str]:
        """The end of its log."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as stream:
            stream.seek(max(0, self.log.stat().st_size - 8192))
            return stream.read().decode("utf-8", "replace").splitlines()[-lines:]


def marked(home: Path) -> list[psutil.Process]:
    """Every living process of the stack of `home`, but the caller and its ancestors."""
    own = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == str(home):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended meanwhile, or it is another user's
    return found


def end(processes: Iterable[psutil.Process], patience_s: float) -> None:
    """Ask them to end, then make them."""
    processes = list(processes)
    for process in processes:
        _signal(process, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(processes, timeout=patience_s)
    for process in stubborn:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=5)


def end_all(home: Path, patience_s: float = 5.0) -> int:
    """End whatever of the stack of `home` is left; how many processes that were."""
    n = 0
    deadline = time.monotonic() + patience_s + 30
    while (left := marked(home)) and time.monotonic() < deadline:
        n += len(left)
        end(left, patience_s)
    return n


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _die_with(parent: int):  # type: ignore[no-untyped-def]
    """Between fork and exec: ask the kernel for SIGTERM when the supervisor ends, even by kill -9 (Linux only)."""

    def prepare() -> None:
        if _libc is not None:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # it died before the request
                os.kill(os.getpid(), signal.SIGTERM)

    return prepare
