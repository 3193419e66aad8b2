"""How fast a service may be asked, and how long to wait before asking again."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


class RateLimiter:
    """A token bucket: in any window of t seconds at most ``burst + rate * t`` permissions are granted.

    It may be shared by coroutines, event loops and threads: a permission is reserved under a lock, then slept for.

    Parameters
    ----------
    rate
        Permissions per second.
    burst
        Permissions that may be granted at once after a quiet time.
    clock, sleep
        Seconds that never go backwards, and how to wait; tests pass their own.
    """

    def __init__(
        self,
        rate: float,
        *,
        burst: int = 1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        if not rate > 0 or burst < 1:
            raise ValueError(f"rate must be above 0 and burst at least 1, not {rate} and {burst}")
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._full_at = clock()  # when the bucket will be full again, if nobody takes a token
        self._paused_until = clock()

    async def acquire(self) -> None:
        """Return when the next request may be sent."""
        while True:
            slot = self._reserve()
            # A sleep may end early by the clock's grain, and the promise is about the clock.
            while (wait := slot - self._clock()) > 0:
                await self._sleep(wait)
            if slot >= self._paused_until:  # else a pause began while we slept, and the slot is void
                return

    def pause(self, seconds: float) -> None:
        """Grant nothing for so long, as a service asked for; a pause never shortens another."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)

    @property
    def pause_left(self) -> float:
        """Seconds until the current pause ends, 0 when there is none."""
        return max(0.0, self._paused_until - self._clock())

    def _reserve(self) -> float:
        with self._lock:
            now = max(self._clock(), self._paused_until)
            slot = max(now, self._full_at - (self.burst - 1) / self.rate)
            self._full_at = max(now, self._full_at) + 1 / self.rate
            return slot


def retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, as a number or as an HTTP date; None where it says nothing."""
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        return seconds if 0 <= seconds < float("inf") else None
    try:
        date = parsedate_to_datetime(text)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, OverflowError):  # the year 99999999999999999999 is not a ValueError
        return None


def backoff(attempt: int, rng: random.Random, *, base_s: float = 1.0, cap_s: float = 30.0) -> float:
    """Seconds before the attempt after `attempt` (1, 2, ...): uniform in 0 .. min(cap, base 2^(attempt - 1))."""
    return rng.uniform(0, min(cap_s, base_s * 2 ** (attempt - 1)))
