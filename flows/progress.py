"""Progress of a stage: a bar on the flow run's page and a line in the log."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext

from gzflow.stages.counts import Counts

logger = logging.getLogger("gzflow.progress")

EVERY_S = 5.0
"""Between two requests to the server, and between two lines."""


class Bar:
    """The bar on the flow run's page, where a flow runs; several threads may fill it.

    Parameters
    ----------
    stage
        Names the artifact.
    whole
        What 100 % means.
    description
        The whole in words.
    tell
        Called with the share that is done, as often as the bar moves.
    """

    def __init__(
        self, stage: str, whole: int, description: str, tell: Callable[[float], None] = lambda _: None
    ) -> None:
        self.whole = whole
        self.n_done = 0
        self._tell = tell
        self._said = time.monotonic()
        self._lock = threading.Lock()
        self._artifact = (
            create_progress_artifact(0.0, key=f"{stage}-progress", description=description)
            if FlowRunContext.get() is not None and whole
            else None
        )

    def add(self, n: int) -> None:
        """So much more is done, or less for a negative number."""
        with self._lock:
            self.n_done += n
            share, now = min(1.0, max(0, self.n_done) / max(self.whole, 1)), time.monotonic()
            if now - self._said < EVERY_S and share < 1.0:
                return
            self._said = now
        if self._artifact is not None:
            update_progress_artifact(self._artifact, 100 * share)
        self._tell(share)


class Progress:
    """Advances as chunks end; says how far, how fast and how much longer.

    Parameters
    ----------
    stage
        Name of the stage, also the artifact's key.
    n_galaxies
        What 100 % means.
    """

    def __init__(self, stage: str, n_galaxies: int) -> None:
        self.stage = stage
        self._bar = Bar(stage, n_galaxies, f"{stage}: {n_galaxies:,} galaxies", self._log)
        self._start = time.monotonic()

    def advance(self, counts: Counts) -> None:
        """Add the counts of one chunk."""
        self._bar.add(counts.n_in)

    def _log(self, share: float) -> None:
        done, whole = self._bar.n_done, self._bar.whole
        seconds = max(time.monotonic() - self._start, 1e-3)
        rate = done / seconds
        logger.info(
            "%s: %3.0f %%, %s of %s galaxies, %.0f a second, %s",
            self.stage,
            100 * share,
            f"{done:,}",
            f"{whole:,}",
            rate,
            f"{seconds:.0f} s" if share == 1.0 else f"about {(whole - done) / rate:.0f} s left",
        )
