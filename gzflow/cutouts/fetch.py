"""Cutouts from a service: many at a time, politely, each answer checked, each file whole or absent."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import cv2

from gzflow.cutouts.attempts import Attempts
from gzflow.cutouts.check import check_image
from gzflow.cutouts.formats import sniff
from gzflow.cutouts.host import Hosts, headers
from gzflow.cutouts.keeping import Keeper
from gzflow.cutouts.naming import cutout_path
from gzflow.cutouts.politeness import backoff
from gzflow.cutouts.rgb import RECIPES, resized
from gzflow.cutouts.services import SERVICES, Reply, Request, problems
from gzflow.errors import (
    CutoutError,
    DuplicateIds,
    NoCoverage,
    NotAnImage,
    SurveyError,
    TransientCutoutError,
    TruncatedImage,
)
from gzflow.recipe import CutoutSpec

log = logging.getLogger(__name__)

# Web pages with status 200 and bodies that end early are made by proxies, maintenance and broken connections, so they
# are asked for again; what a service says about a galaxy itself is final.
_WORTH_ASKING_AGAIN = (TransientCutoutError, TruncatedImage, NotAnImage)
_GALAXIES_A_CONNECTION = 4
"""In hand at a time: while one is on its way, others are decoded, or wait before they ask again."""

T = TypeVar("T")


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
        Requests for the galaxy's image, look-ups with them; 0 when an existing file was reused or nothing was asked.
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
    hosts: Hosts | None = None,
    backoff_s: float = 1.0,
    seed: int = 42,
    on_done: Callable[[Fetched], None] | None = None,
) -> list[Fetched]:
    """One `Fetched` for each target, in their order.

    Parameters
    ----------
    targets
        Galaxies with different ids.
    spec
        The service, its options, the size, and the manners: rate, connections, attempts, deadline, patience.
    folder
        Files go to ``folder/ab/<id>-<digest>.jpg`` or ``.png``; a valid one that is there already is reused.
    recipe_name
        How FITS becomes a picture.
    contact
        E-mail address or page for the User-Agent, so that a service's operator can write before blocking.
    hosts
        Rates, breakers and connections shared with other fetches of this event loop; without them, its own.
    backoff_s
        The wait after attempt k is uniform in 0 .. min(30 s, backoff_s 2^(k-1)); a Retry-After is kept by everyone.
    seed
        Of the jitter, together with each id.
    on_done
        Called in the event loop's thread as each galaxy ends and its file is on disk, so that a ledger can be written
        while the rest runs; what it raises stops everything.

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
    results: list[Fetched | None] = [None] * len(targets)
    waiting = iter(enumerate(targets))
    started = time.monotonic()

    def settle(ended: Sequence[tuple[int, Fetched]]) -> None:
        for at, fetched in ended:
            results[at] = fetched
            if on_done is not None:
                on_done(fetched)

    async with AsyncExitStack() as stack:
        shared = hosts if hosts is not None else await stack.enter_async_context(Hosts())
        fetcher = _Fetcher(shared, spec, folder, recipe_name, headers(contact), backoff_s, seed)
        keeper: Keeper[tuple[int, Fetched]] = Keeper(settle)

        async def work() -> None:
            for at, target in waiting:
                fetched, content = await fetcher.fetch(target)
                if content is not None and fetched.path is not None:
                    await keeper.keep(fetched.path, content, (at, fetched))
                else:
                    settle([(at, fetched)])

        async def fetch_all() -> None:
            many = min(spec.connections * _GALAXIES_A_CONNECTION, len(targets))
            await _together([work() for _ in range(many)])
            await keeper.close()

        await _together([fetch_all(), keeper.run()])
    done = [fetched for fetched in results if fetched is not None]
    _report(done, time.monotonic() - started)
    return done


class _Fetcher:
    """What all galaxies of one call share."""

    def __init__(
        self,
        hosts: Hosts,
        spec: CutoutSpec,
        folder: Path,
        recipe_name: str,
        headers: dict[str, str],
        backoff_s: float,
        seed: int,
    ) -> None:
        self._hosts = hosts
        self._spec = spec
        self._service = SERVICES[spec.service]
        self._folder = folder
        self._recipe_name = recipe_name
        self._headers = headers
        self._backoff_s = backoff_s
        self._seed = seed

    async def fetch(self, target: Target) -> tuple[Fetched, bytes | None]:
        """How one galaxy ended, and what is yet to be written; never raises a CutoutError."""
        tries = Attempts(self._spec.attempts, self._spec.deadline)
        galaxy = _Galaxy(target, tries, random.Random(f"{self._seed}:{target.id_str}"))
        try:
            path, wish, there = await asyncio.to_thread(self._look, target)
            if there is not None:
                return there, None
            request = await self._request(galaxy, wish)
            content, sha256 = await self._obtain(galaxy, request, lambda reply: self._picture(request, reply))
        except CutoutError as error:
            error.where = f"{target.id_str}: {error.where}" if error.where else target.id_str
            return Fetched(target.id_str, None, 0, None, error, tries.made), None
        return Fetched(target.id_str, path, len(content), sha256, None, tries.made), content

    def _look(self, target: Target) -> tuple[Path, Request, Fetched | None]:
        """Where the file belongs, what to ask for, and the file of an earlier run if it is there and good."""
        request = self._service.request(self._spec, target.ra, target.dec, target.pixscale)
        path = cutout_path(self._folder, target.id_str, request, self._recipe_name)
        content = _reusable(path, self._spec.pixels)
        if content is None:
            return path, request, None
        return path, request, Fetched(target.id_str, path, len(content), _sha256(content), None, 0)

    async def _request(self, galaxy: _Galaxy, wish: Request) -> Request:
        """The request for the image, after the look-up that some services need."""
        place = (self._spec, galaxy.target.ra, galaxy.target.dec, galaxy.target.pixscale)
        lookup = self._service.preparation(*place)
        if lookup is None:
            return wish
        return await self._obtain(galaxy, lookup, lambda reply: self._service.prepared(*place, reply))

    def _picture(self, request: Request, reply: Reply) -> tuple[bytes, str]:
        """The file's content and its checksum: a picture of the wanted size as it came, anything else as a PNG."""
        pixels = self._service.interpret(request, reply)
        side = self._spec.pixels
        content = reply.content
        if sniff(content) not in {"JPEG", "PNG"} or pixels.shape[:2] != (side, side):
            picture = pixels if pixels.dtype == "uint8" else RECIPES[self._recipe_name](pixels)
            content = cv2.imencode(".png", resized(picture, side)[..., ::-1])[1].tobytes()
        return content, _sha256(content)

    async def _obtain(self, galaxy: _Galaxy, request: Request, judge: Callable[[Reply], T]) -> T:
        """What `judge` makes of an answer, asked for again while that may help."""
        tries, doubtful = galaxy.tries, True
        while True:
            status, before = 0, tries.made

            def judged(reply: Reply) -> T:
                nonlocal status
                status = reply.status
                return judge(reply)

            try:
                return await self._ask(galaxy, request, judged)
            except _WORTH_ASKING_AGAIN as error:
                if tries.made == before:  # nobody was asked: the host is left alone
                    raise
                trouble = error
            if doubtful and (second := self._service.second_opinion(request, status)):
                doubtful = not await self._shows_something(galaxy, request, second)
            wait = backoff(tries.made, galaxy.rng, base_s=self._backoff_s)
            wish = getattr(trouble, "retry_after", None) or 0.0
            if wish > self._spec.patience or not tries.may_wait(wait):
                trouble.fix = trouble.fix or f"run again later: {tries.made} attempts in {tries.elapsed:.1f} s failed"
                raise trouble
            log.debug("asking again in %.1f s: %s", wait, trouble.what)
            await asyncio.sleep(wait)

    async def _ask(self, galaxy: _Galaxy, request: Request, judge: Callable[[Reply], T]) -> T:
        host = self._hosts.of(request.host, self._spec)
        return await host.ask(request, self._headers, galaxy.tries, galaxy.target.id_str, judge)

    async def _shows_something(self, galaxy: _Galaxy, request: Request, second: Request) -> bool:
        """Whether a small picture of the same field is good; False where it failed too, and nothing is known.

        Raises
        ------
        NoCoverage
            The picture is empty, so there is nothing to deliver.
        """
        try:
            # Beside the attempts at the image itself.
            once = replace(galaxy, tries=Attempts(1, galaxy.tries.left))
            await self._ask(once, second, lambda reply: self._service.interpret(second, reply))
        except NoCoverage as error:
            raise NoCoverage(
                "no images of this place: FITS is answered with HTTP 500, and the service's picture of it is empty",
                where=request.where,
            ) from error
        except CutoutError as error:
            log.debug("the second opinion is no help either: %s", error.what)
            return False
        return True


@dataclass(frozen=True)
class _Galaxy:
    """One target on its way."""

    target: Target
    tries: Attempts
    rng: random.Random


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


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def _together(jobs: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all; the first error stops the others, and is raised when they have ended."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
