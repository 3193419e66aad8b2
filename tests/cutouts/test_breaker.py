from __future__ import annotations

import asyncio
import logging

import pytest

from gzflow.cutouts.breaker import Breaker
from gzflow.errors import NoCoverage, RateLimited, ServiceUnavailable

DOWN = ServiceUnavailable("HTTP 503")


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock, **options: float) -> Breaker:
    breaker = Breaker("sky.org", most=4, clock=clock, **options)
    for k in range(4):
        breaker.bad(DOWN, f"g{k}", trying=False)
    assert not breaker.is_closed
    return breaker


async def must_wait(breaker: Breaker) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(breaker.admit("url"), 0.02)


def test_it_opens_for_requests_in_a_row_about_several_galaxies() -> None:
    breaker = Breaker("sky.org", most=8)
    for _ in range(20):
        breaker.bad(DOWN, "the same", trying=False)
    assert breaker.is_closed
    breaker.bad(DOWN, "another", trying=False)
    assert not breaker.is_closed


@pytest.mark.parametrize("sign", ["good", "verdict"])
def test_a_sign_of_life_begins_the_count_again(sign: str) -> None:
    breaker = Breaker("sky.org", most=4)
    for k in range(30):
        breaker.bad(RateLimited("slow down"), f"g{k}", trying=False)
        if k % 3 == 2:
            breaker.good(trying=False) if sign == "good" else breaker.bad(NoCoverage("none"), "x", trying=False)
    assert breaker.is_closed


def test_one_request_tries_and_all_go_on_when_it_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        clock = Clock()
        breaker = opened(clock, first_pause_s=10)
        await must_wait(breaker)
        waiting = [asyncio.create_task(breaker.admit("url")) for _ in range(5)]
        await asyncio.sleep(0.01)
        clock.now = 10
        assert await breaker.admit("url") is True
        assert not any(task.done() for task in waiting)
        clock.now = 12
        breaker.good(trying=True)
        assert await asyncio.wait_for(asyncio.gather(*waiting), 60) == [False] * 5
        assert breaker.is_closed

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert "sky.org failed for 4 requests in a row: pausing; one request tries again after 10 s" in caplog.text
    assert "sky.org answers again after 12 s" in caplog.text


def test_pauses_grow_and_end_with_the_patience() -> None:
    async def main() -> None:
        clock = Clock()
        breaker = opened(clock, first_pause_s=10, longest_pause_s=30, patience_s=100)
        tries = []
        while not breaker.given_up:
            await must_wait(breaker)
            while True:
                clock.now += 1
                try:
                    trying = await asyncio.wait_for(breaker.admit("url"), 0.001)
                except TimeoutError:
                    continue
                break
            assert trying
            tries.append(clock.now)
            breaker.bad(DOWN, "g", trying=True)
        assert tries == [10, 30, 60, 90, 100]
        with pytest.raises(ServiceUnavailable, match=r"sky.org fails for everyone, the last said: HTTP 503"):
            await breaker.admit("url")
        clock.now += 30
        assert await breaker.admit("url") is True  # so that a chunk an hour later finds out
        breaker.good(trying=True)
        assert not breaker.given_up
        assert await breaker.admit("url") is False

    asyncio.run(main())


def test_answers_that_were_on_their_way_change_nothing() -> None:
    async def main() -> None:
        breaker = opened(Clock(), first_pause_s=10)
        breaker.good(trying=False)
        breaker.bad(DOWN, "late", trying=False)
        await must_wait(breaker)

    asyncio.run(main())


def test_an_abandoned_try_is_left_to_another() -> None:
    async def main() -> None:
        clock = Clock()
        breaker = opened(clock, first_pause_s=10)
        clock.now = 10
        assert await breaker.admit("url") is True
        next_one = asyncio.create_task(breaker.admit("url"))
        await asyncio.sleep(0.01)
        breaker.abandon()
        assert await asyncio.wait_for(next_one, 60) is True

    asyncio.run(main())


def test_without_patience_it_gives_up_at_once_and_a_new_run_believes_again() -> None:
    async def main() -> None:
        breaker = opened(Clock(), patience_s=0)
        assert breaker.given_up
        with pytest.raises(ServiceUnavailable):
            await breaker.admit("url")
        breaker.forget()
        assert await breaker.admit("url") is False

    asyncio.run(main())
