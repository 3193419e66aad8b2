from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gzflow.cutouts.politeness import RateLimiter, backoff, retry_after


class FakeTime:
    """A clock that moves only when everybody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        self._waiting.append((self.now + seconds, self._count, future))
        await future

    async def run(self, *jobs: asyncio.Task[None]) -> None:
        while not all(job.done() for job in jobs):
            for _ in range(20):
                await asyncio.sleep(0)
            if self._waiting:
                self._waiting.sort(key=lambda entry: entry[:2])
                at, _, future = self._waiting.pop(0)
                self.now = max(self.now, at)
                future.set_result(None)
        await asyncio.gather(*jobs)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.floats(0.1, 100),
    burst=st.integers(1, 5),
    gaps=st.lists(st.lists(st.floats(0, 3), min_size=1, max_size=8), min_size=1, max_size=4),
    pauses=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), max_size=3),
)
def test_no_window_ever_holds_more_than_the_rate_allows(rate, burst, gaps, pauses) -> None:
    time = FakeTime()
    granted: list[float] = []
    paused: list[tuple[float, float]] = []

    async def main() -> None:
        limiter = RateLimiter(rate, burst=burst, clock=time.clock, sleep=time.sleep)

        async def client(waits: list[float]) -> None:
            for wait in waits:
                await time.sleep(wait)
                await limiter.acquire()
                granted.append(time.now)

        async def interrupt(after: float, seconds: float) -> None:
            await time.sleep(after)
            paused.append((time.now, time.now + seconds))
            limiter.pause(seconds)

        jobs = [*map(client, gaps), *(interrupt(*pause) for pause in pauses)]
        await time.run(*(asyncio.ensure_future(job) for job in jobs))
        assert limiter.pause_left >= 0

    asyncio.run(main())
    assert len(granted) == sum(map(len, gaps))
    granted.sort()
    for first in range(len(granted)):
        for last in range(first, len(granted)):
            window = granted[last] - granted[first]
            assert last - first + 1 <= burst + rate * window + 1e-6
    for begin, end in paused:
        assert not any(begin < moment < end - 1e-9 for moment in granted)


def test_permissions_are_given_as_fast_as_allowed() -> None:
    time = FakeTime()

    async def main() -> None:
        limiter = RateLimiter(10, burst=3, clock=time.clock, sleep=time.sleep)

        async def take(n: int) -> None:
            for _ in range(n):
                await limiter.acquire()

        await time.run(asyncio.ensure_future(take(23)))

    asyncio.run(main())
    assert time.now == pytest.approx(100 + 20 / 10)


def test_real_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> float:
        limiter = RateLimiter(200)
        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(limiter.acquire() for _ in range(41)))
        return asyncio.get_running_loop().time() - started

    assert 0.19 <= asyncio.run(main()) < 20


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (float("nan"), 1), (1, 0)])
def test_senseless_limits_are_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="rate must be above 0"):
        RateLimiter(rate, burst=burst)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("7", 7.0), (" 2.5 ", 2.5), ("0", 0.0), ("-3", None), ("soon", None), ("", None), ("nan", None)],
)
def test_retry_after_in_seconds(value: str | None, seconds: float | None) -> None:
    assert retry_after(value) == seconds


def test_retry_after_as_a_date() -> None:
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    assert retry_after(format_datetime(now + timedelta(seconds=90), usegmt=True), now=now) == 90
    assert retry_after(format_datetime(now - timedelta(seconds=90), usegmt=True), now=now) == 0
    assert retry_after("Sun, 22 Nov 2026 12:01:00 -0000", now=now) == 60
    assert retry_after("Sun, 22 Nov 99999999999999999999 12:01:00 GMT") is None
    assert retry_after("Sun, 22 Nov 2026 12:01:00 99999999999999999999999") is None


@given(st.integers(1, 40), st.integers(0, 2**32))
def test_backoff_is_full_jitter_within_its_bounds(attempt: int, seed: int) -> None:
    wait = backoff(attempt, random.Random(seed), base_s=0.5, cap_s=8)
    assert 0 <= wait <= min(8, 0.5 * 2 ** (attempt - 1))
    assert wait == backoff(attempt, random.Random(seed), base_s=0.5, cap_s=8)
