"""A chat service on loopback: keeps what is POSTed to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Inbox:
    """What has arrived so far."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.posts: list[dict[str, Any]] = []

    def about(self, flow_run: str, *events: str) -> list[dict[str, Any]]:
        """Posts of these events; on a machine that has much to do any run may be told of as late, too."""
        return [post for post in self.posts if flow_run in post["link"] and post["event"] in events]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [post for post in self.posts if post["event"] == event]


@contextmanager
def inbox() -> Iterator[Inbox]:
    """A server whose URL holds a secret, as those of chat services do."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            box.posts.append(json.loads(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    box = Inbox(f"http://127.0.0.1:{server.server_port}/hooks/the-secret-part")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield box
    finally:
        server.shutdown()
        server.server_close()
