"""How fast images came in, read off the times that the ledger keeps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

PAUSE = timedelta(minutes=15)
"""Without a line in the ledger for so long, a run has ended: chunks are about a minute of work, and a service that
asks for a pause is seldom waited for longer."""


@dataclass(frozen=True)
class Pace:
    """The latest run over a survey's images.

    Attributes
    ----------
    galaxies_per_s
        Ledger rows a second, with or without an image.
    bytes_per_image
        Mean size of its images; None where it got none.
    attempts_per_galaxy
        Requests, or files looked at, a galaxy; over all runs that asked for the same galaxies.
    last
        When its latest row was written (UTC).
    """

    galaxies_per_s: float
    bytes_per_image: float | None
    attempts_per_galaxy: float
    last: datetime

    @property
    def going_on(self) -> bool:
        """Whether a run seems to be at it now."""
        return datetime.now(UTC) - self.last < PAUSE

    def seconds(self, galaxies: int) -> float:
        """How long so many more take at this pace."""
        return galaxies / self.galaxies_per_s


def latest_pace(times: pl.DataFrame) -> Pace | None:
    """The pace of the latest run in ``CatalogStore.cutout_times``; None where it wrote less than two times.

    What was written first was worked on before, for a time that the ledger does not know: it is not counted.
    """
    written = [datetime.fromisoformat(text) for text in times["updated"]]
    began = len(written) - 1
    while began > 0 and written[began] - written[began - 1] < PAUSE:
        began -= 1
    run = times[max(began, 0) :]
    if len(run) < 2:
        return None
    seconds = (written[-1] - written[began]).total_seconds()
    rows, images = int(run["rows"].sum()), int(run["images"].sum())
    return Pace(
        galaxies_per_s=int(run["rows"][1:].sum()) / seconds,
        bytes_per_image=int(run["bytes"].sum()) / images if images else None,
        attempts_per_galaxy=int(run["attempts"].sum()) / rows,
        last=written[-1],
    )
