"""Zenodo's record API with files."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote, unquote

from gzflow.simulation.answer import Answer, Asked

RangeMode = Literal["partial", "ignore"]
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
        ``partial`` honours Range with 206; ``ignore`` always sends the whole file with 200, as Zenodo has done.
    """

    def __init__(self, records: Mapping[int, Mapping[str, bytes]], ranges: RangeMode = "partial") -> None:
        self._records = records
        self.ranges = ranges

    def answer(self, asked: Asked) -> Answer | None:
        """A record as JSON, a file's content, or 404."""
        if match := _RECORD.search(asked.path):
            return self._record(int(match[1]), asked.base)
        if match := _CONTENT.search(asked.path):
            return self._content(int(match[1]), unquote(match[2]), asked.headers)
        return None

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
        text = json.dumps({"id": record, "metadata": {"title": f"Simulated record {record}"}, "files": files})
        return Answer(text.encode(), "application/json", headers=_limits())

    def _content(self, record: int, name: str, headers: Mapping[str, str]) -> Answer:
        content = self._records.get(record, {}).get(name)
        if content is None:
            return _problem(404, f"No file named {name}.")
        tag = f'"md5:{_md5(content)}"'
        extra = {"ETag": tag, **_limits()}
        wanted = _RANGE.match(headers.get("range", ""))
        if wanted is None or self.ranges == "ignore" or headers.get("if-range", tag) != tag:
            return Answer(content, "application/octet-stream", headers=extra)
        start, stop = int(wanted[1]), min(int(wanted[2] or len(content) - 1), len(content) - 1)
        if start >= len(content) or stop < start:
            return Answer(b"", "text/plain", 416, headers={"Content-Range": f"bytes */{len(content)}", **extra})
        place = {"Content-Range": f"bytes {start}-{stop}/{len(content)}", "Accept-Ranges": "bytes"}
        return Answer(content[start : stop + 1], "application/octet-stream", 206, headers={**place, **extra})


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _limits() -> dict[str, str]:
    reset = str(int(time.time()) + 60)
    return {"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "59", "X-RateLimit-Reset": reset}


def _problem(status: int, message: str) -> Answer:
    return Answer(json.dumps({"status": status, "message": message}).encode(), "application/json", status)
