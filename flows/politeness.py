"""Consideration for cutout services beyond one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import runtime
from prefect.concurrency.sync import concurrency

CUTOUTS = "gzflow-cutouts"
"""A global concurrency limit of the Prefect server: chunks that are fetched at a time, over all workers and runs."""
SLOTS = 2
"""As many as one ingest fetches by itself: however many run side by side, services see no more requests."""


@contextmanager
def turn() -> Iterator[None]:
    """Wait for a slot in a run of a deployment; a command on its own has nobody to share with.

    A slot is a lease: what a killed run held becomes free by itself after five minutes, which a limit by task tag
    would never do.
    """
    if runtime.deployment.id is None:
        yield
    else:
        with concurrency(CUTOUTS):
            yield
