"""When the next request to a host may be sent, by what its answers say about their limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import lru_cache

from gzflow.cutouts.politeness import retry_after

LONGEST_PAUSE_S = 3600.0
"""Zenodo counts by the minute and by the hour: no pause that it can mean is longer."""
PAUSE_S = 60.0
"""After a 429 that does not say how long."""


class Pace:
    """At most so many requests a second to one host, fewer where its answers ask for that; shared by threads.

    Zenodo allows guests 60 requests a minute and 2,000 an hour, and says in ``X-RateLimit-Remaining`` how many are left
    until ``X-RateLimit-Reset`` (seconds since 1970).

    Parameters
    ----------
    rate
        Requests a second.
    """

    def __init__(self, rate: float = 1.0) -> None:
        self._gap = 1 / rate
        self._next = time.monotonic()
        self._lock = threading.Lock()

    @staticmethod
    @lru_cache
    def of(host: str) -> Pace:  # noqa: ARG004 - the cache's key
        """The one pace that all of this process keep towards a host."""
        return Pace()

    @property
    def left(self) -> float:
        """Seconds until the next request may be sent."""
        return max(0.0, self._next - time.monotonic())

    def wait(self) -> None:
        """Return when a request may be sent."""
        while True:
            with self._lock:
                if (left := self._next - time.monotonic()) <= 0:
                    self._next = time.monotonic() + self._gap
                    return
            time.sleep(left)

    def heed(self, headers: Mapping[str, str], *, refused: bool) -> None:
        """Pause as an answer asks for: it was refused (429), or it was the last one allowed for now."""
        wish = retry_after(headers.get("Retry-After"))
        if wish is None and (refused or headers.get("X-RateLimit-Remaining", "").strip() == "0"):
            wish = _until(headers.get("X-RateLimit-Reset"))
            wish = PAUSE_S if wish is None and refused else wish
        if wish is not None:
            with self._lock:
                self._next = max(self._next, time.monotonic() + min(wish, LONGEST_PAUSE_S))


def _until(reset: str | None) -> float | None:
    """Seconds from now to a moment in seconds since 1970."""
    try:
        return max(0.0, float(reset or "") - time.time())
    except ValueError:
        return None
