"""Answers of a service, and the parts that several services share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Protocol
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Asked:
    """One GET request as a service sees it.

    Attributes
    ----------
    path, query
        Of the URL.
    headers
        Names in lower case.
    base
        Scheme, host and port that the client used.
    """

    path: str
    query: str
    headers: Mapping[str, str] = field(default_factory=dict)
    base: str = ""

    @property
    def parameters(self) -> dict[str, str]:
        """The query's parameters; of a repeated one the last."""
        return dict(parse_qsl(self.query, keep_blank_values=True))


@dataclass(frozen=True)
class Answer:
    """Status, body and headers."""

    content: bytes
    content_type: str = "text/html; charset=utf-8"
    status: int = 200
    reason: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class LoopbackService(Protocol):
    """One protocol: answers what it knows, returns None for paths of others."""

    def answer(self, asked: Asked) -> Answer | None:
        """The answer to a request, or None where the path is not this service's."""
        ...


def page(title: str, text: str = "") -> bytes:
    """A small HTML page."""
    return (
        f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1>{text}</body></html>".encode()
    )


def jpeg(picture: NDArray[np.uint8], quality: int) -> Answer:
    """A 200 with an (H, W, 3) picture."""
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return Answer(stream.getvalue(), "image/jpeg")


def number(parameters: Mapping[str, str], name: str, default: float | None = None) -> float | None:
    """A finite number of the query, or the default where it is missing or no number."""
    try:
        value = float(parameters[name])
    except (KeyError, ValueError):
        return default
    return value if np.isfinite(value) else default
