"""Hosts that cutouts come from, as one process sees them: how fast, whether they work, and the connections to them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
from yarl import URL

from gzflow import __version__
from gzflow.cutouts.attempts import Attempts
from gzflow.cutouts.breaker import Breaker
from gzflow.cutouts.politeness import RateLimiter, retry_after
from gzflow.cutouts.services import Reply, Request
from gzflow.errors import CutoutError, RateLimited, ServiceUnavailable, WrongSize
from gzflow.recipe import CutoutSpec

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 64 * 2**20
LONGEST_PAUSE_S = 3600.0
CONNECT_S = 15.0
_WORTH_SAYING_S = 5.0
_SHOWN = 200
_CATCH_UP_S = 0.1
"""What this program was late by may be made up for at once: one request at 4 a second, forty at 400. A batch of
files on its way to the disk, or of rows to the ledger, holds a fast service's requests up for about as long.
"""

T = TypeVar("T")


class Host:
    """One host and port. Everything that asks it waits here: for its turn, for pauses it wished, for its recovery.

    Parameters
    ----------
    name
        Host and port.
    spec
        Its manners: rate, connections, deadline and patience.
    session
        The connections of all hosts.
    give_up_after, first_pause_s
        Of its `Breaker`.
    """

    def __init__(
        self, name: str, spec: CutoutSpec, session: aiohttp.ClientSession, *, give_up_after: int, first_pause_s: float
    ) -> None:
        self.name = name
        self._session = session
        self._spec = spec
        self._limiter = RateLimiter(spec.rate, burst=_burst(spec.rate))
        self._places = asyncio.Semaphore(spec.connections)
        self.breaker = Breaker(name, most=give_up_after, patience_s=spec.patience, first_pause_s=first_pause_s)

    def obey(self, spec: CutoutSpec) -> None:
        """Take the manners of `spec` from now on: the last survey that uses the host decides."""
        if spec.connections != self._spec.connections:
            self._places = asyncio.Semaphore(spec.connections)
        self._limiter.rate, self._limiter.burst = spec.rate, _burst(spec.rate)
        self.breaker.patience_s = spec.patience
        self._spec = spec

    def serves(self, spec: CutoutSpec) -> bool:
        """Whether it was last asked for the same service."""
        return (self._spec.service, self._spec.url) == (spec.service, spec.url)

    async def ask(
        self, request: Request, headers: dict[str, str], tries: Attempts, id_str: str, judge: Callable[[Reply], T]
    ) -> T:
        """What `judge` makes of the answer, in a thread; its verdict also tells whether the host works.

        Raises
        ------
        CutoutError
            No answer came, `judge` refused it, or the host is not to be asked now.
        """
        trying, before = False, tries.made
        try:
            async with self._places:
                trying = await self._turn(request, tries)
                tries.start()
                if trying:
                    tries.forgive(0.0, one=True)
                reply = await self._get(request, headers, min(self._spec.deadline / 2, tries.left))
                self._heed(reply)  # before the next one takes this place
            answer = await asyncio.to_thread(judge, reply)
        except BaseException as error:
            if isinstance(error, CutoutError) and tries.made > before:
                self.breaker.bad(error, id_str, trying=trying)
            elif trying:
                self.breaker.abandon()
            raise
        self.breaker.good(trying=trying)
        return answer

    async def _turn(self, request: Request, tries: Attempts) -> bool:
        """Wait for permission; True when this request tries, for everyone, whether the host works again."""
        since = time.monotonic()
        trying = False
        try:
            while True:
                trying = await self.breaker.admit(request.where)
                if self._limiter.pause_left > self._spec.patience:
                    raise RateLimited(
                        f"{self.name} asked for a pause of {self._limiter.pause_left:.0f} s more",
                        where=request.where,
                        fix="run again later: what is done stays done",
                    )
                await self._limiter.acquire()
                if trying or self.breaker.is_closed:
                    break
        except BaseException:
            if trying:
                self.breaker.abandon()
            raise
        tries.forgive(time.monotonic() - since)
        return trying

    def _heed(self, reply: Reply) -> None:
        """Pause for as long as the host asked for."""
        wish = retry_after(reply.headers.get("retry-after")) if reply.status != 200 else None
        if wish is None:
            return
        wish = min(wish, LONGEST_PAUSE_S)
        if wish >= max(_WORTH_SAYING_S, self._limiter.pause_left + 1):
            log.warning("%s asked for a pause of %.0f s: nothing is asked for until then", self.name, wish)
        self._limiter.pause(wish)

    async def _get(self, request: Request, headers: dict[str, str], limit: float) -> Reply:
        content = bytearray()
        try:
            async with (
                asyncio.timeout(limit),
                self._session.get(URL(request.where, encoded=True), headers=headers) as answer,
            ):
                async for piece in answer.content.iter_any():
                    content += piece
                    if len(content) > MAX_ANSWER_BYTES:
                        raise WrongSize(f"the answer exceeds {MAX_ANSWER_BYTES:,} bytes", where=request.where)
                named = {name.lower(): value for name, value in answer.headers.items()}
                return Reply(answer.status, bytes(content), named, answer.reason or "")
        except TimeoutError as error:
            raise ServiceUnavailable(
                f"no complete answer within {limit:.1f} s ({len(content):,} bytes came)", where=request.where
            ) from error
        # A ValueError is a name that no host can have, which a redirect may lead to.
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ServiceUnavailable(_trouble(error, len(content)), where=request.where) from error


def _trouble(error: Exception, received: int) -> str:
    """What went wrong, on one line."""
    if isinstance(error, aiohttp.TooManyRedirects):
        return f"the host redirects {len(error.history)} times and more"
    if isinstance(error, aiohttp.InvalidURL | aiohttp.RedirectClientError):
        return f"the host redirects to what is no web address: {error}"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"what came is no HTTP answer: {' '.join(error.message.split())[:_SHOWN]}"
    said = " ".join(str(error).split())[:_SHOWN] or type(error).__name__
    return f"the connection failed after {received:,} bytes: {said}"


def _burst(rate: float) -> int:
    return max(1, int(rate * _CATCH_UP_S))


class Hosts:
    """All hosts of one event loop, over one pool of connections. Use it as an asynchronous context manager.

    Parameters
    ----------
    give_up_after
        Failing requests in a row after which a host is left alone.
    first_pause_s
        Seconds before one request tries again; each further pause is twice as long.
    """

    def __init__(self, *, give_up_after: int = 16, first_pause_s: float = 15.0) -> None:
        self._give_up_after = give_up_after
        self._first_pause_s = first_pause_s
        self._hosts: dict[str, Host] = {}
        self._session = aiohttp.ClientSession(
            # How many connections a host gets is decided by `Host`, before a request has used up its permission.
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=True,
        )
        # aiohttp asks again by itself when a connection breaks: that would be twice the requests, unseen by any limit.
        self._session._retry_connection = False  # noqa: SLF001 - there is no other way

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def of(self, name: str, spec: CutoutSpec) -> Host:
        """The host of that name, made at its first use, with the manners of `spec`."""
        host = self._hosts.get(name)
        if host is None:
            host = Host(name, spec, self._session, give_up_after=self._give_up_after, first_pause_s=self._first_pause_s)
            self._hosts[name] = host
        host.obey(spec)
        return host

    def given_up(self, spec: CutoutSpec) -> bool:
        """Whether a host of that service failed for longer than anybody wanted to wait."""
        return any(host.serves(spec) and host.breaker.given_up for host in self._hosts.values())

    def forget(self) -> None:
        """Believe in every host again, as a new run does."""
        for host in self._hosts.values():
            host.breaker.forget()


def headers(contact: str | None) -> dict[str, str]:
    """Who asks and for what: an operator can write to `contact` (a mail address or page) before blocking anybody."""
    text = "".join(character for character in contact or "" if " " <= character <= "~")
    return {
        "User-Agent": f"gzflow/{__version__} (+{text or 'https://github.com/gzflow/gzflow'})",
        "Accept": "image/*, application/fits;q=0.9, */*;q=0.1",
        "Accept-Encoding": "identity",  # images do not shrink further, and a packed answer may unpack to anything
    }
