"""Answers that are hardly HTTP: each ends its galaxy with a sentence, never the run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gzflow.cutouts.fetch import Fetched, Target, fetch_cutouts
from gzflow.recipe import CutoutSpec

NOTHING = "Content-Length: 0\r\n\r\n"
ANSWERS = {
    "redirect in a circle": (f"HTTP/1.1 302 Found\r\nLocation: /viewer/jpeg-cutout\r\n{NOTHING}", "redirects 10 times"),
    "redirect to a file": (f"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n{NOTHING}", "file:///etc/passwd"),
    "redirect to no host": (f"HTTP/1.1 302 Found\r\nLocation: http://..\x01/\r\n{NOTHING}", "connection failed"),
    "no HTTP": ("hello\r\n\r\n", "no HTTP answer: Bad status line"),
    "two lengths": ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello", "no HTTP answer: Dupl"),
    "senseless pause": (
        f"HTTP/1.1 503 Busy\r\nRetry-After: Sun, 22 Nov 99999999999999999999 12:01:00 GMT\r\n{NOTHING}",
        "HTTP 503 Busy",
    ),
}


async def fetched(answer: str, folder: Path) -> Fetched:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer.encode("latin-1"))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        spec = CutoutSpec(
            service="legacysurvey", url=url, pixels=64, pixscale=0.3, rate=1e4, attempts=2, deadline=100, patience=0
        )
        (one,) = await fetch_cutouts([Target("g", 10.0, 10.0, 0.3)], spec, folder, backoff_s=0.001)
        return one


@pytest.mark.parametrize("name", ANSWERS)
def test_each_ends_its_galaxy_with_a_sentence(name: str, tmp_path: Path) -> None:
    answer, words = ANSWERS[name]
    one = asyncio.run(fetched(answer, tmp_path))
    assert (one.state, one.attempts) == ("to-do", 2)
    assert one.error is not None
    assert words in one.error.what
    assert "\n" not in one.error.what
