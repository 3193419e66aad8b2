"""What the command line shows: progress lines, tables, and errors that say what to do."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from pydantic import ValidationError
from rich.console import Console

from flows.environment import require_room
from flows.stopping import leave
from gzflow.errors import GzflowError, StackError
from gzflow.settings import Settings, without_password
from gzflow.terminal import REFUSED, STOPPED, disk_error, exit_code, leave_on_sigterm, stop_behind

UNREACHABLE = ("Failed to reach API", "Timed out while attempting to connect to ephemeral Prefect API server")
"""What Prefect says, in a plain RuntimeError, when no server answers."""

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
        handler.addFilter(_said_once)
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(min(level, logger.level or level))


def _said_once(record: logging.LogRecord) -> bool:
    """False for what Prefect says again about an error: a failed task has its line, the command's end has all of it."""
    message = record.getMessage()
    if message.startswith("Finished in state"):
        return False
    foreseen = record.exc_info is not None and isinstance(record.exc_info[1], GzflowError)
    return not (foreseen and message.startswith("Encountered exception during execution"))


class _OneLine(logging.Formatter):
    """A record's first line: the whole error is shown once, at the end, and tracebacks only of what is unforeseen."""

    def format(self, record: logging.LogRecord) -> str:
        plain = logging.makeLogRecord(record.__dict__ | {"exc_info": None, "exc_text": None, "stack_info": None})
        return super().format(plain).splitlines()[0]


def _no_server(said: str) -> StackError:
    """Prefect's word that its server is away, with what to do about it."""
    address = os.environ.get("PREFECT_API_URL")
    return StackError(
        "the Prefect server does not answer",
        where=f"PREFECT_API_URL={without_password(address)}" if address else said,
        expected="a running server, or no PREFECT_API_URL: then the command brings its own",
        fix="start it with `gzflow up`, or correct or unset PREFECT_API_URL",
    )


def _refuse(error: Exception) -> NoReturn:
    err.print(f"[bold red]{type(error).__name__}[/]: ", end="")
    err.print(str(error), markup=False)
    sys.exit(REFUSED)


@contextmanager
def explained_errors() -> Iterator[None]:
    """Turn deliberate errors into their message and exit code 2, signals into what to do next.

    Anything else keeps its traceback. SIGTERM ends the program as Ctrl-C does, in order. While a flow runs Prefect
    catches it, lets the flow end and sends it again; then it arrives here.
    """
    leave_on_sigterm()
    try:
        with _refused():
            yield
    except BaseException as error:
        if (stop := stop_behind(error)) is None:
            raise
        err.print(STOPPED)
        leave(exit_code(stop))


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except GzflowError as error:
        _refuse(error)
    except (ValidationError, OSError) as error:
        if isinstance(error, OSError) and (explained := disk_error(error, Settings.load().home)):
            _refuse(explained)
        # The message alone says what to change: a wrong option, an unusable folder.
        if isinstance(error, OSError) and error.filename is None:
            raise
        _refuse(error)
    except RuntimeError as error:
        if not any(words in str(error) for words in UNREACHABLE):
            raise
        home = Settings.load().home
        try:
            require_room(home)
        except OSError as full:
            _refuse(disk_error(full, home) or full)
        _refuse(_no_server(str(error)))
