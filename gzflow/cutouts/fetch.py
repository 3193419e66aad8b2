"""Cutouts from a service: many at a time, politely, each answer checked, each file whole or absent."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import httpx

from gzflow import __version__
from gzflow.cutouts.breaker import Breaker
from gzflow.cutouts.check import check_image
from gzflow.cutouts.naming import cutout_path
from gzflow.cutouts.politeness import Limiter, RateLimiter, backoff
from gzflow.cutouts.rgb import RECIPES, resized
from gzflow.cutouts.services import SERVICES, Pixels, Reply, Request, problems
from gzflow.durable import write_bytes
from gzflow.errors import (
    CutoutError,
    DuplicateIds,
    NoCoverage,
    NotAnImage,
    RateLimited,
    ServiceUnavailable,
    SurveyError,
    TransientCutoutError,
    TruncatedImage,
    WrongSize,
)
from gzflow.recipe import CutoutSpec

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 64 * 2**20
_LONGEST_PAUSE_S = 3600.0
# Web pages with status 200 and bodies that end early are made by proxies, maintenance and broken connections, so they
# are asked for again; what a service says about a galaxy itself is final.
_WORTH_ASKING_AGAIN = (TransientCutoutError, TruncatedImage, NotAnImage)


@dataclass(frozen=True)
class Target:
    """One galaxy to fetch: degrees, and arcsec per pixel at the spec's ``pixels``."""

    id_str: str
    ra: float | None
    dec: float | None
    pixscale: float | None


@dataclass(frozen=True)
class Fetched:
    """How one galaxy ended: a file, or the error that says why not.

    Attributes
    ----------
    path, bytes, sha256
        The file that was written or reused; None and 0 without one.
    error
        None when there is a file.
    attempts
        Requests for the galaxy's image; 0 when an existing file was reused or nothing was asked.
    """

    id_str: str
    path: Path | None
    bytes: int
    sha256: str | None
    error: CutoutError | None
    attempts: int

    @property
    def state(self) -> Literal["done", "no-coverage", "failed", "to-do"]:
        """The ledger's word; what may work another time stays to-do."""
        if self.error is None:
            return "done"
        if isinstance(self.error, NoCoverage):
            return "no-coverage"
        return "to-do" if isinstance(self.error, TransientCutoutError) else "failed"


async def fetch_cutouts(
    targets: Sequence[Target],
    spec: CutoutSpec,
    folder: Path,
    *,
    recipe_name: str = "as-delivered",
    contact: str | None = None,
    limiter: Limiter | None = None,
    concurrency: int = 8,
    attempts: int = 5,
    deadline_s: float = 120.0,
    backoff_s: float = 1.0,
    give_up_after: int = 16,
    seed: int = 42,
    on_done: Callable[[Fetched], None] | None = None,
) -> list[Fetched]:
    """One `Fetched` for each target, in their order.

    Parameters
    ----------
    targets
        Galaxies with different ids.
    spec
        The service, its options, the size and the rate.
    folder
        Files go to ``folder/ab/<id>-<digest>.jpg`` or ``.png``; a valid one that is there already is reused.
    recipe_name
        How FITS becomes a picture.
    contact
        E-mail address or page for the User-Agent, so that a service's operator can write before blocking.
    limiter
        Permissions shared with other fetches from the same host; without one, ``spec.rate`` requests a second.
    concurrency
        Requests on the way at a time.
    attempts
        Requests per galaxy, at most, while the service is in trouble or its answers are damaged.
    deadline_s
        Seconds per galaxy from its first request to its last; one request may take half of it.
    backoff_s
        The wait after attempt k is uniform in 0 .. min(30 s, backoff_s 2^(k-1)), and at least what Retry-After says.
    give_up_after
        When so many galaxies in a row meet a service that fails, the rest is not asked for and stays to-do.
    seed
        Of the jitter, together with each id.
    on_done
        Called in the event loop's thread as each galaxy ends, so that a ledger can be written while the rest runs; what
        it raises stops everything.

    Raises
    ------
    SurveyError
        The service or recipe cannot deliver what the spec asks for: found before anything is sent.
    DuplicateIds
        Two targets with one id.
    OSError
        A file cannot be written. Files written before are whole.
    """
    _refuse_bad_plan(targets, spec, recipe_name)
    headers = {"User-Agent": _user_agent(contact), "Accept": "image/*, application/fits;q=0.9, */*;q=0.1"}
    results: list[Fetched | None] = [None] * len(targets)
    waiting = iter(enumerate(targets))
    async with httpx.AsyncClient(
        headers=headers,
        limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        timeout=httpx.Timeout(deadline_s / 2, connect=min(15.0, deadline_s / 2)),
        follow_redirects=True,
    ) as client:
        fetcher = _Fetcher(
            client=client,
            spec=spec,
            folder=folder,
            recipe_name=recipe_name,
            limiter=limiter,
            attempts=attempts,
            deadline_s=deadline_s,
            backoff_s=backoff_s,
            breaker=Breaker(give_up_after),
            seed=seed,
        )

        async def work() -> None:
            for at, target in waiting:
                results[at] = fetched = await fetcher.fetch(target)
                if on_done is not None:
                    on_done(fetched)

        started = time.monotonic()
        workers = [asyncio.create_task(work()) for _ in range(max(1, min(concurrency, len(targets))))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
    done = [fetched for fetched in results if fetched is not None]
    _report(done, time.monotonic() - started)
    return done


class _Fetcher:
    """What all galaxies of one call share."""

    def __init__(
        self,
        *,
        client: httpx.AsyncClient,
        spec: CutoutSpec,
        folder: Path,
        recipe_name: str,
        limiter: Limiter | None,
        attempts: int,
        deadline_s: float,
        backoff_s: float,
        breaker: Breaker,
        seed: int,
    ) -> None:
        self._client = client
        self._spec = spec
        self._service = SERVICES[spec.service]
        self._folder = folder
        self._recipe_name = recipe_name
        # Pauses that a service asks for are kept by our own limiter, also beside a foreign one.
        self._gate = limiter if isinstance(limiter, RateLimiter) else RateLimiter(spec.rate)
        self._foreign = None if isinstance(limiter, RateLimiter) else limiter
        self._attempts = attempts
        self._deadline_s = deadline_s
        self._backoff_s = backoff_s
        self._breaker = breaker
        self._seed = seed

    async def fetch(self, target: Target) -> Fetched:
        """How one galaxy ended; never raises a CutoutError."""
        tries = _Tries(self._attempts, self._deadline_s)
        try:
            request = self._service.request(self._spec, target.ra, target.dec, target.pixscale)
            path = cutout_path(self._folder, target.id_str, request, self._recipe_name)
            content = await asyncio.to_thread(_reusable, path, self._spec.pixels)
            if content is None:
                reply, pixels = await self._obtain(request, tries, random.Random(f"{self._seed}:{target.id_str}"))
                content = await asyncio.to_thread(self._store, path, request, reply, pixels)
                self._breaker.success()
        except CutoutError as error:
            error.where = f"{target.id_str}: {error.where}" if error.where else target.id_str
            if tries.made:
                self._breaker.failure(error)
            return Fetched(target.id_str, None, 0, None, error, tries.made)
        return Fetched(target.id_str, path, len(content), hashlib.sha256(content).hexdigest(), None, tries.made)

    async def _obtain(self, request: Request, tries: _Tries, rng: random.Random) -> tuple[Reply, Pixels]:
        doubtful = True
        while True:
            self._breaker.check(request)
            await self._permission(tries, request)
            tries.start()
            status = 0
            try:
                reply = await self._get(request, tries)
                status = reply.status
                return reply, await asyncio.to_thread(self._service.interpret, request, reply)
            except _WORTH_ASKING_AGAIN as error:
                trouble = error
            wish = getattr(trouble, "retry_after", None) or 0.0
            self._gate.pause(min(wish, _LONGEST_PAUSE_S))
            if doubtful and (second := self._service.second_opinion(request, status)):
                doubtful = not await self._shows_something(request, second, tries)
            wait = max(wish, backoff(tries.made, rng, base_s=self._backoff_s))
            if not tries.may_wait(wait):
                trouble.fix = trouble.fix or f"run again later: {tries.made} attempts in {tries.elapsed:.1f} s failed"
                raise trouble
            log.debug("asking again in %.1f s: %s", wait, trouble.what)
            await asyncio.sleep(wait)

    async def _permission(self, tries: _Tries, request: Request) -> None:
        if self._gate.pause_left > tries.left:
            raise RateLimited(
                f"{request.host} asked for a pause of {self._gate.pause_left:.0f} s more",
                where=request.where,
                fix="run again later: what is done stays done",
            )
        await self._gate.acquire()
        if self._foreign is not None:
            await self._foreign.acquire()

    async def _get(self, request: Request, tries: _Tries) -> Reply:
        limit = min(self._deadline_s / 2, tries.left)
        content = bytearray()
        try:
            async with (
                asyncio.timeout(limit),
                self._client.stream("GET", request.url, params=dict(request.params)) as answer,
            ):
                async for piece in answer.aiter_bytes():
                    content += piece
                    if len(content) > MAX_ANSWER_BYTES:
                        raise WrongSize(f"the answer exceeds {MAX_ANSWER_BYTES:,} bytes", where=request.where)
                headers = {name.lower(): value for name, value in answer.headers.items()}
                return Reply(answer.status_code, bytes(content), headers, answer.reason_phrase)
        except TimeoutError as error:
            raise ServiceUnavailable(
                f"no complete answer within {limit:.1f} s ({len(content):,} bytes came)", where=request.where
            ) from error
        except httpx.HTTPError as error:
            raise ServiceUnavailable(
                f"the connection failed after {len(content):,} bytes: {error or type(error).__name__}",
                where=request.where,
            ) from error

    async def _shows_something(self, request: Request, second: Request, tries: _Tries) -> bool:
        """Whether a small picture of the same field is good; False where it failed too, and nothing is known.

        Raises
        ------
        NoCoverage
            The picture is empty, so there is nothing to deliver.
        """
        await self._permission(tries, second)
        try:
            await asyncio.to_thread(self._service.interpret, second, await self._get(second, tries))
        except NoCoverage as error:
            raise NoCoverage(
                "no images of this place: FITS is answered with HTTP 500, and the service's picture of it is empty",
                where=request.where,
            ) from error
        except CutoutError as error:
            log.debug("the second opinion is no help either: %s", error.what)
            return False
        return True

    def _store(self, path: Path, request: Request, reply: Reply, pixels: Pixels) -> bytes:
        content = reply.content
        if request.format == "fits":
            picture = resized(RECIPES[self._recipe_name](pixels), self._spec.pixels)
            content = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
        write_bytes(path, content)
        return content


class _Tries:
    """Attempts and time of one galaxy; the clock starts with the first request, not in the queue before it."""

    def __init__(self, most: int, deadline_s: float) -> None:
        self.made = 0
        self._most = most
        self._deadline_s = deadline_s
        self._started: float | None = None

    def start(self) -> None:
        self.made += 1
        self._started = self._started or time.monotonic()

    @property
    def elapsed(self) -> float:
        return 0.0 if self._started is None else time.monotonic() - self._started

    @property
    def left(self) -> float:
        return max(0.0, self._deadline_s - self.elapsed)

    def may_wait(self, seconds: float) -> bool:
        return self.made < self._most and seconds < self.left


def _refuse_bad_plan(targets: Sequence[Target], spec: CutoutSpec, recipe_name: str) -> None:
    found = problems(spec, recipe_name)
    if found:
        raise SurveyError(
            "these cutouts cannot be asked for",
            where=f"service {spec.service}",
            problems=found,
            fix="correct [cutout] and [image] in the survey's TOML",
        )
    repeated = [id_str for id_str, times in Counter(target.id_str for target in targets).items() if times > 1]
    if repeated:
        raise DuplicateIds(f"{len(repeated)} ids come twice", problems=repeated[:5], expected="one row a galaxy")


def _reusable(path: Path, pixels: int) -> bytes | None:
    """The file's bytes when it is there and good."""
    try:
        content = path.read_bytes()
        check_image(content, size=(pixels, pixels), what=str(path))
    except FileNotFoundError:
        return None
    except CutoutError as error:
        log.warning("an earlier file is not used again: %s", error)
        return None
    return content


def _user_agent(contact: str | None) -> str:
    text = "".join(character for character in contact or "" if " " <= character <= "~")
    return f"gzflow/{__version__} (+{text or 'https://github.com/gzflow/gzflow'})"


def _report(done: Sequence[Fetched], seconds: float) -> None:
    states = Counter(fetched.state for fetched in done)
    size = sum(fetched.bytes for fetched in done)
    log.info(
        "%d cutouts in %.1f s (%.1f a second, %.1f MB): %s",
        len(done),
        seconds,
        len(done) / max(seconds, 1e-9),
        size / 1e6,
        ", ".join(f"{state} {count}" for state, count in sorted(states.items())),
    )
