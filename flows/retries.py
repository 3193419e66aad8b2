"""Which failures of a task are worth another try."""

from __future__ import annotations

import logging
from typing import Any

from gzflow.errors import GzflowError, RecordUnavailable, StoreUnavailable, TrackingUnavailable, TransientCutoutError
from gzflow.terminal import is_of_the_disk

log = logging.getLogger("gzflow.retries")

AWAY = (TransientCutoutError, RecordUnavailable, StoreUnavailable, TrackingUnavailable)
MISTAKES = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, TypeError, ValueError)
"""What a program's own errors look like: the same the next time."""


def may_pass(task: Any, run: Any, state: Any) -> bool:  # noqa: ARG001 - Prefect's signature
    """Whether the same task may succeed later: what gzflow refuses on purpose stays refused, and so do mistakes.

    Prefect asks only while tries are left, and says no word to the one who then waits for minutes; so it is said here.
    """
    error = state.result(raise_on_failure=False)
    # A full disk stays full while the task waits, and whoever could make room would not hear of it.
    refused = isinstance(error, (GzflowError, *MISTAKES)) or (isinstance(error, OSError) and is_of_the_disk(error))
    again = isinstance(error, AWAY) or not refused
    if again:
        said = error.what if isinstance(error, GzflowError) else str(error) or type(error).__name__
        log.warning("%s: %s: trying again by itself, with growing pauses", task.name, said)
    return again


LOCAL: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [5, 30],
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": may_pass,
}
"""Options of a task that reads and writes on this machine alone."""
