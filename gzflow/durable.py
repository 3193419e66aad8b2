"""Files that are whole or absent: written under a temporary name, fsynced, renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

_SYNCING = 8
"""Files that are synced at a time: a journalling file system writes such requests together."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; on a clean exit its content takes the name `path` in one step.

    After an exception the temporary file is removed and `path` is as it was. After kill -9 a ``.tmp`` file may be
    left, which nothing reads.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        _sync_file(temporary)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_many(files: Mapping[Path, bytes]) -> None:
    """Write files, each of them whole or not at all, several times as fast as one by one.

    All are on disk when this returns. When it raises, or is killed, any of them may be there.
    """
    temporary = {path: _temporary(path) for path in files}
    folders = {path.parent for path in files}
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            temporary[path].write_bytes(content)
        with ThreadPoolExecutor(_SYNCING) as threads:
            list(threads.map(_sync_file, temporary.values()))
            for path, written in temporary.items():
                written.replace(path)
            list(threads.map(_sync_folder, folders))
    finally:
        for written in temporary.values():
            written.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON that a person can read, whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=False, default=str) + "\n").encode())


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid4().hex[:12]}.tmp")


def _sync_file(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    # A rename survives a power cut only when the folder's own entry reached the disk.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
