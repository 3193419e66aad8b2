"""Survey services on loopback: one HTTP server that speaks the real protocols, with switchable faults."""

from __future__ import annotations

import logging
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from gzflow.simulation.answer import Answer, Asked, LoopbackService, page
from gzflow.simulation.faults import Fault, fault_of
from gzflow.simulation.fitscut import FitscutService
from gzflow.simulation.hips import HipsService
from gzflow.simulation.legacysurvey import LegacySurveyService
from gzflow.simulation.mast import MastService
from gzflow.simulation.sky import SimulatedSky
from gzflow.simulation.skyserver import Outside, SkyServerService
from gzflow.simulation.zenodo import RangeMode, ZenodoService

logger = logging.getLogger(__name__)

DRIPS = 20
"""Pieces that a slow answer comes in."""


@dataclass(frozen=True)
class Served:
    """One request that was answered: which attempt of its URL, how it went, and the fault that struck it."""

    path: str
    query: str
    attempt: int
    status: int
    fault: str | None
    user_agent: str


class LoopbackServices:
    """Cutout services and archives of a simulated sky on ``http://127.0.0.1``; use it as a context manager.

    Parameters
    ----------
    sky
        What the cutout services show; None serves archives alone.
    faults
        Trouble, also changed while running: ``services.faults = (...)``.
    seed
        Decides which requests have trouble.
    records
        Zenodo records: file contents by record id and name.
    ranges, allowance, window_s
        How Zenodo honours Range, and how many requests it allows in how many seconds.
    outside
        How SkyServer says that a place was not observed.
    port
        0 takes a free one; a fixed one keeps URLs, and so surveys, the same from run to run.
    """

    def __init__(
        self,
        sky: SimulatedSky | None = None,
        *,
        faults: Sequence[Fault] = (),
        seed: int = 0,
        records: Mapping[int, Mapping[str, bytes]] | None = None,
        ranges: RangeMode = "partial",
        allowance: int | None = None,
        window_s: float = 60.0,
        outside: Outside = "tile",
        port: int = 0,
    ) -> None:
        self.faults = tuple(faults)
        self.seed = seed
        self._services: list[LoopbackService] = [
            ZenodoService(records or {}, ranges, allowance=allowance, window_s=window_s)
        ]
        if sky is not None:
            self._services += [
                LegacySurveyService(sky),
                SkyServerService(sky, outside),
                MastService(sky),
                FitscutService(sky),
                HipsService(sky),
            ]
        self._lock = threading.Lock()
        self._attempts: Counter[str] = Counter()
        self._served: list[Served] = []
        self._port = port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", self._port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        logger.info("simulated services listen on %s", self.url)
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
        self._server = self._thread = None

    @property
    def url(self) -> str:
        """Scheme, host and port, without a path."""
        if self._server is None:
            raise RuntimeError("the services are not running: use them in a `with` statement")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def served(self) -> tuple[Served, ...]:
        """All requests so far, in the order of their answers."""
        with self._lock:
            return tuple(self._served)

    def count(self, text: str = "", *, fault: str | None = None) -> int:
        """Requests whose path or query contains `text`, and, if given, which that kind of fault struck."""
        return sum(text in f"{one.path}?{one.query}" and fault in {None, one.fault} for one in self.served)

    def answer(self, asked: Asked) -> tuple[Answer, Fault | None]:
        """What to send for a request, and the fault to send it with."""
        with self._lock:
            key = f"{asked.path}?{asked.query}"
            self._attempts[key] += 1
            attempt = self._attempts[key]
        fault = fault_of(self.faults, self.seed, asked.path, asked.query, attempt)
        answer = _spoilt(fault) if fault is not None else None
        if answer is None:
            answer = self._truth(asked)
        agent = asked.headers.get("user-agent", "")
        kind = fault.kind if fault else None
        with self._lock:
            self._served.append(Served(asked.path, asked.query, attempt, answer.status, kind, agent))
        return answer, fault

    def _truth(self, asked: Asked) -> Answer:
        for service in self._services:
            if (answer := service.answer(asked)) is not None:
                return answer
        return Answer(page("Not Found"), status=404)


def _spoilt(fault: Fault) -> Answer | None:
    """The answer of a service in trouble, or None where trouble strikes only on the way."""
    wish = {}
    if fault.retry_after is not None:
        then = formatdate(time.time() + fault.retry_after, usegmt=True)
        wish = {"Retry-After": then if fault.as_date else f"{fault.retry_after:g}"}
    if fault.kind == "rate-limited":
        return Answer(page("Too Many Requests"), status=429, headers=wish)
    if fault.kind == "error":
        return Answer(page("Internal Server Error"), status=500)
    if fault.kind == "unavailable":
        return Answer(page("Service Unavailable"), status=503, headers=wish)
    if fault.kind == "html":
        return Answer(page("Down for maintenance", "<p>We will be back soon.</p>"))
    return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], services: LoopbackServices) -> None:
        self.services = services
        super().__init__(address, _Handler)

    def handle_error(self, _request: Any, client_address: Any, /) -> None:
        # A client that hangs up is part of the play.
        logger.debug("connection from %s ended early: %s", client_address, sys.exception())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        base = f"http://{headers.get('host', '127.0.0.1')}"
        answer, fault = self.server.services.answer(Asked(url.path, url.query, headers, base))
        if fault is not None and fault.kind == "reset":
            self._reset()
            return
        self.send_response(answer.status, answer.reason or HTTPStatus(answer.status).phrase)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.content)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if fault is not None and fault.kind == "truncated":
            self.wfile.write(answer.content[: len(answer.content) // 2])
            self.close_connection = True
        elif fault is not None and fault.kind == "drip":
            self._drip(answer.content, fault.seconds)
        else:
            self.wfile.write(answer.content)

    def _drip(self, content: bytes, seconds: float) -> None:
        size = max(1, -(-len(content) // DRIPS))
        for start in range(0, len(content), size):
            self.wfile.write(content[start : start + size])
            self.wfile.flush()
            time.sleep(seconds / DRIPS)

    def _reset(self) -> None:
        # Closing with a linger time of zero sends RST instead of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, template: str, *args: Any) -> None:
        logger.debug(template, *args)
