"""How a command of gzflow ends: by an error, by a signal; the same with Prefect's flows and without."""

from __future__ import annotations

import errno
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from gzflow.errors import DiskError, GzflowError

REFUSED = 2
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
"""Exit codes, as shells know them."""
STOPPED = "stopped; what is finished is kept: run the same command again to go on from here"


_SPACE = (
    "free space there, or choose a folder on another disk; then run the same command again: what is finished is kept"
)
_RIGHTS = "let this user write there, or choose another folder; then run the same command again"
_DISK = {
    errno.ENOSPC: ("the disk is full", _SPACE),
    errno.EDQUOT: ("the disk quota is used up", _SPACE),
    errno.EROFS: ("the disk can only be read", _RIGHTS),
    errno.EACCES: ("permission is denied", _RIGHTS),
}


def disk_error(error: OSError, place: Path) -> DiskError | None:
    """What the disk refused, for the user; None for any other error, which is not about the disk.

    Parameters
    ----------
    place
        Where the command writes: a write that fails does not say which file it was for.
    """
    if not is_of_the_disk(error) or error.errno is None:
        return None
    what, fix = _DISK[error.errno]
    return DiskError(what, where=str(error.filename or place), problems=[error.strerror or str(error)], fix=fix)


def is_of_the_disk(error: OSError) -> bool:
    """Whether the disk refused: it is full, may not be written, or denies a file."""
    # Without a file a denied permission is something else's: a port's, a process's.
    return error.errno in _DISK and not (error.errno == errno.EACCES and error.filename is None)


_terminated = threading.Event()


def leave_on_sigterm() -> None:
    """End the program on SIGTERM as on Ctrl-C: in order, with all that is to be done at the end."""
    with suppress(ValueError):  # in a thread there are no signals to care for
        signal.signal(signal.SIGTERM, _leave)


def leave_in_peace() -> None:
    """Let SIGTERM change nothing any more: the program has its exit code, and what runs at exit runs to its end."""
    with suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _leave(_number: int, _frame: object) -> NoReturn:
    _terminated.set()
    sys.exit(TERMINATED)


def stop_behind(error: BaseException | None) -> BaseException | None:
    """The signal behind an error, if there is one: what it interrupted may have made another error of it."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return error
        if isinstance(error, SystemExit) and error.code in {INTERRUPTED, TERMINATED}:
            return error
        if type(error).__name__ == "TerminationSignal":  # Prefect's own name for SIGTERM
            return error
        error = error.__cause__ or error.__context__
    # What is not written in Python, pydantic for one, makes a new error of it that knows of no other.
    return SystemExit(TERMINATED) if _terminated.is_set() else None


def exit_code(stop: BaseException) -> int:
    """Of a program that this signal ends, as shells count them."""
    if isinstance(stop, SystemExit):
        return int(stop.code or 0)
    return INTERRUPTED if isinstance(stop, KeyboardInterrupt) else TERMINATED


@contextmanager
def plain_command(place: Path) -> Iterator[None]:
    """Run a command that has no more than the compute core and writes to `place`.

    Progress is shown on standard error, errors as messages.
    """
    leave_on_sigterm()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("gzflow")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    except GzflowError as error:
        _refuse(error)
    except OSError as error:
        if (explained := disk_error(error, place)) is None:
            raise
        _refuse(explained)
    except BaseException as error:
        if (stop := stop_behind(error)) is None:
            raise
        sys.stderr.write(f"{STOPPED}\n")
        sys.exit(exit_code(stop))


def _refuse(error: GzflowError) -> NoReturn:
    sys.stderr.write(f"{type(error).__name__}: {error}\n")
    sys.exit(REFUSED)
