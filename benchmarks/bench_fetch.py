"""Cutouts from a loopback service that takes its time: gzflow against a loop of one request after the other.

The service is another process that sleeps before it answers, as a distant one does. The rival opens a connection for
each image, writes what comes, and checks nothing, as download scripts do; gzflow checks and fsyncs each file. Both must
end with the same bytes. The last lines show the ceiling (no delay: what checking and fsync cost) and that a rate limit
is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import numpy as np
from PIL import Image
from timing import machine

from gzflow.cutouts.fetch import Fetched, Target, fetch_cutouts
from gzflow.cutouts.services import SERVICES
from gzflow.recipe import CutoutSpec


def pictures(n: int, pixels: int) -> list[bytes]:
    rng = np.random.default_rng(42)
    y, x = np.mgrid[:pixels, :pixels] - pixels / 2
    galaxy = 180 * np.exp(-np.hypot(x, 2 * y) / (pixels / 12))[..., None]
    contents = []
    for _ in range(n):
        stream = BytesIO()
        noisy = np.clip(galaxy + rng.normal(30, 6, (pixels, pixels, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(stream, "JPEG", quality=90)
        contents.append(stream.getvalue())
    return contents


def serve(pipe: Connection, delay: float, pixels: int) -> None:
    contents = pictures(16, pixels)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            time.sleep(delay)
            ra = float(parse_qs(urlsplit(self.path).query)["ra"][0])
            body = contents[int(ra) % len(contents)]
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pipe.send(server.server_address[1])
    server.serve_forever()


def loop(targets: list[Target], spec: CutoutSpec, folder: Path) -> dict[str, bytes]:
    for target in targets:
        request = SERVICES[spec.service].request(spec, target.ra, target.dec, target.pixscale)
        with urlopen(request.where) as answer:
            content = answer.read()
        (folder / f"{target.id_str}.jpg").write_bytes(content)
    return {target.id_str: (folder / f"{target.id_str}.jpg").read_bytes() for target in targets}


def ours(targets: list[Target], spec: CutoutSpec, folder: Path, concurrency: int) -> list[Fetched]:
    return asyncio.run(fetch_cutouts(targets, spec, folder, concurrency=concurrency))


def measure(n: int, pixels: int, delay: float, *, rate: float = 1e6, concurrency: int = 8, rival: bool) -> None:
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(there, delay, pixels), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{here.recv()}"
    spec = CutoutSpec(service="legacysurvey", url=url, pixels=pixels, pixscale=0.262, rate=rate)
    targets = [Target(f"g{k:05}", k % 360 + 0.5, 0.0, 0.262) for k in range(n)]
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        start = time.perf_counter()
        fetched = ours(targets, spec, Path(first), concurrency)
        seconds = time.perf_counter() - start
        assert all(one.state == "done" for one in fetched)
        setting = f"{delay * 1000:5.0f} ms  {concurrency:2} at a time  limit {rate:9.0f}/s"
        line = f"{setting}  gzflow {n / seconds:7.1f} a second"
        if rival:
            start = time.perf_counter()
            naive = loop(targets, spec, Path(second))
            naive_seconds = time.perf_counter() - start
            assert all(one.path is not None and one.path.read_bytes() == naive[one.id_str] for one in fetched)
            line += f"   loop {n / naive_seconds:6.1f}   {naive_seconds / seconds:5.1f} x"
        print(line)
    server.terminate()
    server.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--galaxies", type=int, default=200)
    parser.add_argument("--pixels", type=int, default=424)
    options = parser.parse_args()
    print(machine())
    for delay, concurrency in ((0.05, 8), (0.2, 8), (0.2, 16)):
        measure(options.galaxies, options.pixels, delay, concurrency=concurrency, rival=True)
    measure(4 * options.galaxies, options.pixels, 0.0, rival=True)
    measure(options.galaxies // 4, options.pixels, 0.2, rate=10, rival=False)


if __name__ == "__main__":
    main()
