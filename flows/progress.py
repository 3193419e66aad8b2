"""Progress of a stage: a bar on the flow run's page and a line in the log."""

from __future__ import annotations

import logging
import time

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext

from gzflow.stages.counts import Counts

logger = logging.getLogger("gzflow.progress")

EVERY = 5.0
"""Seconds between two lines."""


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
        self.n_galaxies = n_galaxies
        self.n_done = 0
        self._start = self._said = time.monotonic()
        self._artifact = (
            create_progress_artifact(0.0, key=f"{stage}-progress", description=f"{stage}: {n_galaxies:,} galaxies")
            if FlowRunContext.get() is not None and n_galaxies
            else None
        )

    def advance(self, counts: Counts) -> None:
        """Add the counts of one chunk."""
        self.n_done += counts.n_in
        share = min(1.0, self.n_done / self.n_galaxies)
        if self._artifact is not None:
            update_progress_artifact(self._artifact, 100 * share)
        now = time.monotonic()
        if now - self._said >= EVERY or share == 1.0:
            self._said = now
            seconds = max(now - self._start, 1e-3)
            rate = self.n_done / seconds
            logger.info(
                "%s: %3.0f %%, %s of %s galaxies, %.0f a second, %s",
                self.stage,
                100 * share,
                f"{self.n_done:,}",
                f"{self.n_galaxies:,}",
                rate,
                f"{seconds:.0f} s" if share == 1.0 else f"about {(self.n_galaxies - self.n_done) / rate:.0f} s left",
            )
