"""What the command line shows: progress lines, tables, and errors that say what to do."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError
from rich.console import Console

from gzflow.errors import GzflowError
from gzflow.terminal import INTERRUPTED, REFUSED, STOPPED, TERMINATED, leave_on_sigterm

# Paths and commands are for copying: they must not be broken into lines.
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def show_logs() -> None:
    """Print gzflow's progress lines and the orchestrator's warnings; call it after Prefect was imported.

    Prefect's own console handler is switched off by `flows.environment`, or every line would come twice.
    """
    for name, level in (("gzflow", logging.INFO), ("prefect", logging.WARNING)):
        handler = logging.StreamHandler()
        handler.setLevel(level)
        handler.setFormatter(_OneLine("%(asctime)s  %(message)s", "%H:%M:%S"))
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(min(level, logger.level or level))


class _OneLine(logging.Formatter):
    """A record's first line: the whole error is shown once, at the end, and tracebacks only of what is unforeseen."""

    def format(self, record: logging.LogRecord) -> str:
        plain = logging.makeLogRecord(record.__dict__ | {"exc_info": None, "exc_text": None, "stack_info": None})
        return super().format(plain).splitlines()[0]


def _is_the_users(error: Exception) -> bool:
    """Whether the message alone says what to change: a wrong option, an unusable folder, a server that is not there."""
    if isinstance(error, RuntimeError):
        return "Failed to reach API" in str(error)
    return not isinstance(error, OSError) or error.filename is not None


@contextmanager
def explained_errors() -> Iterator[None]:
    """Turn deliberate errors into their message and exit code 2, signals into what to do next.

    Anything else keeps its traceback. SIGTERM ends the program as Ctrl-C does, in order. While a flow runs Prefect
    catches it, lets the flow end and sends it again; then it arrives here.
    """
    leave_on_sigterm()
    try:
        yield
    except GzflowError as error:
        err.print(f"[bold red]{type(error).__name__}[/]: ", end="")
        err.print(str(error), markup=False)
        sys.exit(REFUSED)
    except (ValidationError, OSError, RuntimeError) as error:
        if not _is_the_users(error):
            raise
        err.print(f"[bold red]{type(error).__name__}[/]: ", end="")
        err.print(str(error), markup=False)
        sys.exit(REFUSED)
    except (SystemExit, KeyboardInterrupt) as end:
        code = end.code if isinstance(end, SystemExit) else INTERRUPTED
        if code in {INTERRUPTED, TERMINATED}:
            err.print(STOPPED)
        sys.exit(code)
