from __future__ import annotations

import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image


def jpeg(pixels: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def sky(side: int, seed: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side / 2
    values = np.random.default_rng(seed).normal(30, 5, (side, side, 3))
    return np.clip(values + 150 * np.exp(-np.hypot(x, y) / 6)[..., None], 1, 255).astype(np.uint8)


def cube(side: int, seed: int, bad: float = 0.0) -> bytes:
    data = np.random.default_rng(seed).normal(0.02, 0.01, (3, side, side)).astype(np.float32)
    data[:, : int(bad * side)] = 0
    unit = fits.PrimaryHDU(data)
    unit.header["BANDS"] = "grz"
    stream = BytesIO()
    unit.writeto(stream)
    return stream.getvalue()


class CutoutServer:
    """The three cutout services' answers on loopback.

    `faults` maps a galaxy's ra (whole degrees) to what its successive requests get, the last one for ever; everything
    else gets a good image. The first `down_for` requests of all get a 503.
    """

    def __init__(self) -> None:
        self.faults: dict[int, list[str]] = {}
        self.seen: dict[int, list[str]] = defaultdict(list)
        self.times: list[float] = []
        self.agents: set[str] = set()
        self.most_at_once = 0
        self.delay = 0.0
        self.clients: set[tuple[str, int]] = set()
        self.down_for = 0
        self._now = 0
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def enter(self, ra: int, path: str, agent: str) -> str:
        with self._lock:
            self.times.append(time.monotonic())
            self.agents.add(agent)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            planned = self.faults.get(ra, ["good"])
            same = sum(entry == path for entry in self.seen[ra])
            self.seen[ra].append(path)
            if len(self.times) <= self.down_for:
                return "503"
        return planned[min(same, len(planned) - 1)]

    def leave(self) -> None:
        with self._lock:
            self._now -= 1


class _Handler(BaseHTTPRequestHandler):
    owner: CutoutServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        ra = int(float(query["ra"]))
        self.owner.clients.add(self.client_address)
        fault = self.owner.enter(ra, url.path, self.headers["User-Agent"])
        try:
            time.sleep(self.owner.delay)
            self._answer(fault, url.path, query, ra)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.owner.leave()

    def _answer(self, fault: str, path: str, query: dict[str, str], ra: int) -> None:
        side = int(query.get("size") or query["width"])
        fits_wanted = path.endswith("fits-cutout")
        good = cube(side, ra) if fits_wanted else jpeg(sky(side, ra))
        kind = "image/fits" if fits_wanted else "image/jpeg"
        bodies = {
            "good": good,
            "html": b"<!DOCTYPE html><html>We are down for maintenance</html>",
            "no layer": b"no such layer",
            "short file": good[: len(good) // 2],
            "wrong size": cube(side + 1, ra) if fits_wanted else jpeg(sky(side + 10, ra)),
            "bad pixels": cube(side, ra, bad=0.5),
            "black": jpeg(np.zeros((side, side, 3), np.uint8)),
            "no-overlap": jpeg(np.full((side, side, 3), 32, np.uint8)),
            "fits 500": good,
        }
        if fits_wanted and fault in {"no-overlap", "fits 500"}:
            self._send(500, b"Server Error (500)")
        elif fault in bodies:
            self._send(200, bodies[fault], kind)
        elif fault.isdigit():
            self._send(int(fault), b"trouble")
        elif fault.startswith("wait "):
            _, status, seconds = fault.split(maxsplit=2)
            if seconds.endswith(" from now"):
                later = datetime.now(UTC) + timedelta(seconds=float(seconds.removesuffix(" from now")))
                seconds = format_datetime(later, usegmt=True)
            self._send(int(status), b"slow down", headers={"Retry-After": seconds})
        else:
            self._break(fault, good, kind)

    def _break(self, fault: str, good: bytes, kind: str) -> None:
        """Answers that break off on the way."""
        self.close_connection = True
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(good)))
        self.end_headers()
        if fault == "cut":
            self.wfile.write(good[: len(good) // 2])
        elif fault == "drip":
            for at in range(len(good)):  # for longer than anybody listens
                self.wfile.write(good[at : at + 1])
                self.wfile.flush()
                time.sleep(0.05)
        else:
            raise AssertionError(fault)

    def _send(self, status: int, body: bytes, kind: str = "text/plain", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[CutoutServer]:
    running = CutoutServer()
    yield running
    running.close()
