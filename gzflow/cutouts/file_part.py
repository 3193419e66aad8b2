"""A file of a record on its way here: the bytes that have come, kept through any interruption."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gzflow.durable import write_json

log = logging.getLogger(__name__)

PIECE = 2**20
"""Bytes that are hashed at a time when a part is gone on with."""


@dataclass(frozen=True)
class RecordFile:
    """One file of a record: its name, bytes, md5 (hex) and address."""

    name: str
    size: int
    md5: str
    url: str


class NotTheFile(Exception):
    """The bytes that came cannot become the published file."""


class FilePart:
    """The bytes of a file that have come, with their md5, and beside them which file they belong to.

    A byte counts once it is in the file: after kill -9 what the file holds is hashed again, and a wrong tail shows in
    the md5 at the end.
    """

    def __init__(self, path: Path, file: RecordFile, on_bytes: Callable[[int], None]) -> None:
        self._path, self._file, self._on_bytes = path, file, on_bytes
        self._part = path.with_name(f".{path.name}.part")
        self._note = path.with_name(f".{path.name}.part.json")
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._tag: str | None = None
        self._resume()

    def conditions(self) -> dict[str, str]:
        """Headers that ask for the rest, if the file is still the one that the first bytes came from."""
        if self.size == 0:
            return {}
        wanted = {"Range": f"bytes={self.size}-"}
        # A weak tag is no promise about bytes, and servers must not accept it here (RFC 9110, 13.1.5).
        return wanted | ({"If-Range": self._tag} if self._tag and not self._tag.startswith("W/") else {})

    def remember(self, tag: str | None) -> None:
        """Note which file the bytes belong to, before the first of them is written."""
        self._tag = tag
        write_json(self._note, {"md5": self._file.md5, "size": self._file.size, "tag": tag})

    def truncate(self, size: int) -> None:
        """Keep only the first bytes: 0 where the server sends the file from its beginning."""
        if size:
            raise NotTheFile(f"the server sends bytes from {size:,} on, not from {self.size:,}")
        self.discard()

    def discard(self) -> None:
        """Throw away what has come."""
        self._on_bytes(-self.size)
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.size, self._tag = 0, None
        self._md5 = hashlib.md5(usedforsecurity=False)

    def open(self) -> _Appender:
        """A function that writes what comes, for a ``with`` statement."""
        return _Appender(self._part, self._take)

    def finish(self) -> None:
        """Give the part its name when it is the published file."""
        if (found := self._md5.hexdigest()) != self._file.md5:
            raise NotTheFile(f"its md5 is {found}")
        with self._part.open("ab") as stream:  # an empty file never had a byte
            os.fsync(stream.fileno())
        self._part.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._note.unlink(missing_ok=True)

    def _take(self, piece: bytes) -> None:
        self._md5.update(piece)
        self.size += len(piece)
        self._on_bytes(len(piece))
        if self.size > self._file.size:
            raise NotTheFile(f"more than {self._file.size:,} bytes come")

    def _resume(self) -> None:
        try:
            note = json.loads(self._note.read_text())
            known = (note["md5"], note["size"]) == (self._file.md5, self._file.size)
            held = self._part.stat().st_size
        except (OSError, ValueError, KeyError, TypeError):
            known, held = False, 0
        if not known or held > self._file.size:
            self.discard()
            return
        self._tag = note["tag"]
        with self._part.open("rb") as stream:
            while piece := stream.read(PIECE):
                self._take(piece)
        if self.size:
            log.info("%s goes on after %.1f GB of %.1f", self._file.name, self.size / 1e9, self._file.size / 1e9)


class _Appender:
    """Writes pieces at a file's end; a piece counts when the system has taken it."""

    def __init__(self, path: Path, taken: Callable[[bytes], None]) -> None:
        self._stream = path.open("ab", buffering=0)
        self._taken = taken

    def __enter__(self) -> Callable[[bytes], None]:
        return self._write

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def _write(self, piece: bytes) -> None:
        view = memoryview(piece)
        while view:  # a nearly full disk takes a part of it first
            written = self._stream.write(view)
            self._taken(bytes(view[:written]))
            view = view[written:]
