"""Ports on which a test's server may start, end and start again."""

from __future__ import annotations

import random
import socket

_OURS = range(20_000, 32_000)
"""Below those that Linux gives to clients and to whoever asks for port 0: none of these takes one meanwhile."""


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    for port in random.sample(_OURS, 100):
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"a hundred ports of {_OURS} are in use")
