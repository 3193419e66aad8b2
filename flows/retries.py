"""Which failures of a task are worth another try."""

from __future__ import annotations

from typing import Any

from gzflow.errors import GzflowError, TransientCutoutError


def may_pass(task: Any, run: Any, state: Any) -> bool:  # noqa: ARG001 - Prefect's signature
    """Whether the same task may succeed later: what gzflow refuses on purpose stays refused."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, TransientCutoutError) or not isinstance(error, GzflowError)
