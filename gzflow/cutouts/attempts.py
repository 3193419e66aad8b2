"""Attempts and time that one galaxy may take."""

from __future__ import annotations

import time


class Attempts:
    """What one galaxy has used up; its clock starts with the first request, not in the queue before it.

    Parameters
    ----------
    most
        Requests while its service is in trouble, or its answers are damaged.
    deadline_s
        Seconds from the first request to the last.
    """

    def __init__(self, most: int, deadline_s: float) -> None:
        self.made = 0
        self._most = most
        self._deadline_s = deadline_s
        self._started: float | None = None

    def start(self) -> None:
        """A request is sent."""
        self.made += 1
        if self._started is None:
            self._started = time.monotonic()

    def forgive(self, seconds: float, *, one: bool = False) -> None:
        """Time in which everyone waited for the host costs no galaxy anything, nor a try on everyone's behalf."""
        if self._started is not None:
            self._started += seconds
        self._most += one

    @property
    def elapsed(self) -> float:
        """Seconds since the first request."""
        return 0.0 if self._started is None else time.monotonic() - self._started

    @property
    def left(self) -> float:
        """Seconds to the deadline."""
        return max(0.0, self._deadline_s - self.elapsed)

    def may_wait(self, seconds: float) -> bool:
        """Whether another request after so many seconds is within both limits."""
        return self.made < self._most and seconds < self.left
