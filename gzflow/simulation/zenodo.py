"""Zenodo's record API with files."""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal
from urllib.parse import quote, unquote

from gzflow.simulation.answer import Answer, Asked

RangeMode = Literal["partial", "ignore", "shifted"]
_RECORD = re.compile(r"/api/records/(\d+)$")
_CONTENT = re.compile(r"(?:/api)?/records?/(\d+)/files/([^/]+?)(?:/content)?$")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)$")


class ZenodoService:
    """Records and their files.

    Parameters
    ----------
    records
        For each record id, file contents by name.
    ranges
        ``partial`` honours Range with 206; ``ignore`` always sends the whole file with 200, as Zenodo has done;
        ``shifted`` answers 206 with other bytes than those that were asked for, and says so.
    allowance
        Requests that are allowed in `window_s` seconds; those beyond get 429. None counts, but refuses nobody.
    window_s
        Seconds after which the count begins anew.
    """

    def __init__(
        self,
        records: Mapping[int, Mapping[str, bytes]],
        ranges: RangeMode = "partial",
        *,
        allowance: int | None = None,
        window_s: float = 60.0,
    ) -> None:
        self._records = records
        self.ranges = ranges
        self.allowance = allowance
        self._window_s = window_s
        self._window = (0.0, 0)  # when the count began, and how far it is
        self._lock = threading.Lock()

    def answer(self, asked: Asked) -> Answer | None:
        """A record as JSON, a file's content, or 404."""
        if match := _RECORD.search(asked.path):
            answer = self._record(int(match[1]), asked.base)
        elif match := _CONTENT.search(asked.path):
            answer = self._content(int(match[1]), unquote(match[2]), asked.headers)
        else:
            return None
        left, limits = self._count()
        if left < 0:
            answer = _problem(429, "Too many requests.")
        return replace(answer, headers={**answer.headers, **limits})

    def _count(self) -> tuple[int, dict[str, str]]:
        """How many more requests are allowed after this one, and the headers that say so."""
        with self._lock:
            start, n = self._window
            start, n = (start, n + 1) if time.time() < start + self._window_s else (time.time(), 1)
            self._window = (start, n)
        allowed = self.allowance if self.allowance is not None else n + 59
        return allowed - n, {
            "X-RateLimit-Limit": str(allowed),
            "X-RateLimit-Remaining": str(max(0, allowed - n)),
            "X-RateLimit-Reset": str(math.ceil(start + self._window_s)),
        }

    def _record(self, record: int, base: str) -> Answer:
        if record not in self._records:
            return _problem(404, "The persistent identifier does not exist.")
        files = [
            {
                "key": name,
                "size": len(content),
                "checksum": f"md5:{_md5(content)}",
                "links": {"self": f"{base}/api/records/{record}/files/{quote(name)}/content"},
            }
            for name, content in self._records[record].items()
        ]
        about = {"title": f"Simulated record {record}", "license": {"id": "cc-by-4.0"}}
        text = json.dumps({"id": record, "doi": f"10.5281/zenodo.{record}", "metadata": about, "files": files})
        return Answer(text.encode(), "application/json")

    def _content(self, record: int, name: str, headers: Mapping[str, str]) -> Answer:
        content = self._records.get(record, {}).get(name)
        if content is None:
            return _problem(404, f"No file named {name}.")
        tag = f'"md5:{_md5(content)}"'
        extra = {"ETag": tag}
        wanted = _RANGE.match(headers.get("range", ""))
        if wanted is None or self.ranges == "ignore" or headers.get("if-range", tag) != tag:
            return Answer(content, "application/octet-stream", headers=extra)
        start, stop = int(wanted[1]), min(int(wanted[2] or len(content) - 1), len(content) - 1)
        if start >= len(content) or stop < start:
            return Answer(b"", "text/plain", 416, headers={"Content-Range": f"bytes */{len(content)}", **extra})
        if self.ranges == "shifted":
            start -= 1
        place = {"Content-Range": f"bytes {start}-{stop}/{len(content)}", "Accept-Ranges": "bytes"}
        return Answer(content[start : stop + 1], "application/octet-stream", 206, headers={**place, **extra})


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _problem(status: int, message: str) -> Answer:
    return Answer(json.dumps({"status": status, "message": message}).encode(), "application/json", status)
