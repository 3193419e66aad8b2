"""How a command of gzflow ends: by an error, by a signal; the same with Prefect's flows and without."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from gzflow.errors import GzflowError

REFUSED = 2
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
"""Exit codes, as shells know them."""
STOPPED = "stopped; what is finished is kept: run the same command again to go on from here"


def leave_on_sigterm() -> None:
    """End the program on SIGTERM as on Ctrl-C: in order, with all that is to be done at the end."""
    with suppress(ValueError):  # in a thread there are no signals to care for
        signal.signal(signal.SIGTERM, _leave)


def _leave(_number: int, _frame: object) -> NoReturn:
    sys.exit(TERMINATED)


@contextmanager
def plain_command() -> Iterator[None]:
    """Run a command that has no more than the compute core: progress on standard error, errors as messages."""
    leave_on_sigterm()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("gzflow")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    except GzflowError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(REFUSED)
    except (SystemExit, KeyboardInterrupt) as end:
        code = end.code if isinstance(end, SystemExit) else INTERRUPTED
        if code in {INTERRUPTED, TERMINATED}:
            sys.stderr.write(f"{STOPPED}\n")
        sys.exit(code)
