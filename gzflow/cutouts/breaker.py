"""When to leave a host alone that fails for everyone, and when to ask it again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from gzflow.errors import CutoutError, NotAnImage, Refused, ServiceUnavailable, TransientCutoutError, TruncatedImage

log = logging.getLogger(__name__)

_SERVICE_FAILED = (TransientCutoutError, TruncatedImage, NotAnImage, Refused)


class Breaker:
    """Opens after failing requests in a row, lets one request try again from time to time, and gives up in the end.

    While it is open, everybody waits in `admit` and no galaxy spends its attempts. A verdict about one galaxy (no
    coverage, bad pixels) shows that the host works. All calls come from one event loop.

    Parameters
    ----------
    host
        For messages.
    most
        Failing requests in a row that open it, when they were about at least a quarter as many galaxies (and two): a
        few galaxies whose own images are broken at the host are no reason.
    patience_s
        Seconds from opening to giving up; 0 gives up at once. Then one request in `longest_pause_s` still tries.
    first_pause_s, longest_pause_s
        The first wait before a try; each further one is twice as long, up to the longest.
    clock
        Seconds that never go backwards.
    """

    def __init__(
        self,
        host: str,
        *,
        most: int = 16,
        patience_s: float = 900.0,
        first_pause_s: float = 15.0,
        longest_pause_s: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.patience_s = patience_s
        self._host = host
        self._most = most
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._clock = clock
        self._changed = asyncio.Event()
        self._failed = 0
        self._galaxies: set[str] = set()
        self._outage: _Outage | None = None

    @property
    def is_closed(self) -> bool:
        """True while everybody may ask."""
        return self._outage is None

    @property
    def given_up(self) -> bool:
        """True once the host failed for longer than the patience, until it answers again."""
        return self._outage is not None and self._outage.given_up

    async def admit(self, where: str) -> bool:
        """Return when a request may be sent: True for the one that tries whether the host works again.

        The one who gets True must end it with `good`, `bad` or `abandon`.

        Raises
        ------
        ServiceUnavailable
            The host was given up.
        """
        while (outage := self._outage) is not None:
            left = outage.next_try - self._clock()
            if not outage.trying and left <= 0:
                outage.trying = True
                return True
            if outage.given_up and not outage.trying:
                raise self._refusal(outage, where)
            changed = self._changed
            with suppress(TimeoutError):
                async with asyncio.timeout(None if outage.trying else left):
                    await changed.wait()
        return False

    def good(self, *, trying: bool) -> None:
        """The host answered a request as it should."""
        if self._outage is None:
            self._failed = 0
            self._galaxies.clear()
        elif trying:
            seconds = self._clock() - self._outage.since
            log.warning("%s answers again after %s: going on", self._host, _duration(seconds))
            self.forget()

    def bad(self, error: CutoutError, id_str: str, *, trying: bool) -> None:
        """A request ended with `error`, of whatever kind."""
        if not isinstance(error, _SERVICE_FAILED):
            self.good(trying=trying)
        elif self._outage is None:
            self._failed += 1
            self._galaxies.add(id_str)
            if self._failed >= self._most and len(self._galaxies) >= max(2, self._most // 4):
                self._open(error)
        elif trying:  # requests on their way when it opened change nothing
            self._failed_again(self._outage, error)

    def abandon(self) -> None:
        """The try was cancelled before its answer came; another may try."""
        if self._outage is not None:
            self._outage.trying = False
        self._wake()

    def forget(self) -> None:
        """Close it whatever happened before."""
        self._outage = None
        self._failed = 0
        self._galaxies.clear()
        self._wake()

    def _open(self, error: CutoutError) -> None:
        outage = self._outage = _Outage(self._clock(), error.what, self._first_pause_s)
        if self._give_up_when_due(outage):
            return
        self._wait_for_next_try(outage)
        log.warning(
            "%s failed for %d requests in a row: pausing; one request tries again after %s, and so on for %s. The last"
            " said: %s",
            self._host,
            self._failed,
            _duration(outage.next_try - outage.since),
            _duration(self.patience_s),
            error.what,
        )

    def _failed_again(self, outage: _Outage, error: CutoutError) -> None:
        outage.trying = False
        outage.last = error.what
        if outage.given_up:
            outage.next_try = self._clock() + self._longest_pause_s
        elif not self._give_up_when_due(outage):
            outage.pause_s = min(2 * outage.pause_s, self._longest_pause_s)
            self._wait_for_next_try(outage)
            wait = _duration(outage.next_try - self._clock())
            log.warning("%s still fails (%s): the next try in %s", self._host, error.what, wait)
        self._wake()

    def _give_up_when_due(self, outage: _Outage) -> bool:
        now = self._clock()
        if now - outage.since < self.patience_s:
            return False
        outage.given_up = True
        outage.next_try = now + self._longest_pause_s
        how = f"for {_duration(now - outage.since)}" if self.patience_s else f"{self._failed} times in a row"
        log.error(
            "%s failed %s: given up for now, the rest stays to do. The last said: %s", self._host, how, outage.last
        )
        return True

    def _wait_for_next_try(self, outage: _Outage) -> None:
        now = self._clock()
        outage.next_try = max(now, min(now + outage.pause_s, outage.since + self.patience_s))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _refusal(self, outage: _Outage, where: str) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"not asked for: {self._host} fails for everyone, the last said: {outage.last}",
            where=where,
            fix="look at the service or the survey's [cutout]; then run again: what is done stays done",
        )


@dataclass
class _Outage:
    """While a breaker is open: since when, what was said last, and when one request may try."""

    since: float
    last: str
    pause_s: float
    next_try: float = 0.0
    trying: bool = False
    given_up: bool = False


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
