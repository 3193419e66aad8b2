"""A cutout service on loopback that costs next to nothing: another process, one thread, pictures made beforehand.

Like distant services it answers after a while, keeps connections open, resumes where it is asked to, and fails for a
share of the requests: by status 503, 429 and 500, by hanging up before or within the answer. Whether a request fails is
decided by its URL and by how often it was asked, so two clients meet the same trouble.
"""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from multiprocessing.connection import Connection

import numpy as np
from PIL import Image

TROUBLE = ("503", "429", "500", "cut", "hang up")
PICTURES = 16


@dataclass(frozen=True)
class Served:
    """What a server has seen: requests, and how many of them it answered well."""

    requests: int
    good: int


def pictures(n: int, pixels: int, noise: float = 4.0) -> list[bytes]:
    """JPEGs of a galaxy in noise, some ten kilobytes at 424 pixels, as SkyServer and the Legacy viewer deliver them."""
    rng = np.random.default_rng(42)
    y, x = np.mgrid[:pixels, :pixels] - pixels / 2
    galaxy = 180 * np.exp(-np.hypot(x, 2 * y) / (pixels / 12))[..., None]
    contents = []
    for _ in range(n):
        stream = BytesIO()
        noisy = np.clip(galaxy + rng.normal(20, noise, (pixels, pixels, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(stream, "JPEG", quality=85)
        contents.append(stream.getvalue())
    return contents


def picture_of(target: bytes) -> int:
    """Which of the server's pictures is the right answer to a path with its query."""
    return int.from_bytes(hashlib.blake2b(target, digest_size=2).digest(), "big") % PICTURES


class _Answers(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            resumed = re.search(rb"\r\nrange: bytes=(\d+)-", head.lower())
            start = int(resumed[1]) if resumed else 0
            self._server.loop.call_later(self._server.delay, self._answer, head.split(b" ", 2)[1], start)

    def _answer(self, target: bytes, start: int) -> None:
        answer, ends = self._server.answer(target, start)
        self._transport.write(answer)
        if ends:
            self._transport.close()


class _Server:
    def __init__(self, delay: float, share: float, pixels: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.delay = delay
        self.requests = self.good = 0
        self._share = share
        self._asked: Counter[bytes] = Counter()
        self._bodies = pictures(PICTURES, pixels)
        self._answers = [_http("200 OK", body, "image/jpeg") for body in self._bodies]

    def answer(self, target: bytes, start: int) -> tuple[bytes, bool]:
        self._asked[target] += 1
        self.requests += 1
        chance = hashlib.blake2b(b"%d %s" % (self._asked[target], target), digest_size=8).digest()
        which = picture_of(target)
        good = _rest(self._bodies[which], start) if start else self._answers[which]
        if int.from_bytes(chance[:4], "big") >= self._share * 2**32:
            self.good += 1
            return good, False
        trouble = TROUBLE[chance[4] % len(TROUBLE)]
        if trouble == "cut":
            return good[: len(good) // 2], True
        return (b"", True) if trouble == "hang up" else (_http(f"{trouble} Trouble", b"trouble", "text/plain"), False)


def _rest(body: bytes, start: int) -> bytes:
    where = f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}"
    return _http("206 Partial Content", body[start:], f"image/jpeg\r\n{where}")


def _http(status: str, body: bytes, kind: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _serve(pipe: Connection, delay: float, share: float, pixels: int) -> None:
    async def main() -> None:
        server = _Server(delay, share, pixels)
        running = await server.loop.create_server(lambda: _Answers(server), "127.0.0.1", 0, backlog=512)
        pipe.send(running.sockets[0].getsockname()[1])
        while True:
            await server.loop.run_in_executor(None, pipe.recv)
            pipe.send(Served(server.requests, server.good))

    asyncio.run(main())


@dataclass
class CutoutServer:
    """A running server: its address, and `served` for what it has seen."""

    url: str
    pipe: Connection

    def served(self) -> Served:
        """Ask the server."""
        self.pipe.send("?")
        return self.pipe.recv()


@contextmanager
def serving(delay: float, share: float, pixels: int) -> Iterator[CutoutServer]:
    """A server in a process of its own.

    Parameters
    ----------
    delay
        Seconds before each answer.
    share
        Of requests that fail.
    pixels
        Side of the pictures.
    """
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve, args=(there, delay, share, pixels), daemon=True)
    process.start()
    try:
        yield CutoutServer(f"http://127.0.0.1:{here.recv()}", here)
    finally:
        process.terminate()
        process.join()
