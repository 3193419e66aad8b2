"""Acquire: files of a published record, such as Zenodo's 4573248 with the GZ DECaLS tables and images."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from gzflow.cutouts.zenodo import Record, RecordFile, ZenodoClient, parse_reference
from gzflow.errors import DiskError, RecordError, SettingsError
from gzflow.lock import exclusive
from gzflow.settings import Settings
from gzflow.stages.free_space import readable
from gzflow.terminal import disk_error

log = logging.getLogger(__name__)
CONNECTIONS = 3
"""Files at a time: enough to fill most lines, few enough to be a guest."""
EVERY_S = 10.0
"""Seconds between two lines about one file."""
_HEADROOM = 64 * 2**20


@dataclass(frozen=True)
class AcquirePlan:
    """What is to be brought, and where to.

    Attributes
    ----------
    files
        One chunk each.
    bytes_missing
        Of these files, what is not on the disk yet.
    """

    origin: str
    record: Record
    folder: Path
    files: tuple[RecordFile, ...]
    bytes_missing: int

    @property
    def bytes(self) -> int:
        """Size of all the files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class AcquiredFile:
    """One file that is on the disk now, whole and verified."""

    path: Path
    bytes: int
    reused: bool


@dataclass(frozen=True)
class AcquireSummary:
    """The files of one record on this disk."""

    record: Record
    folder: Path
    files: tuple[AcquiredFile, ...]

    def sentence(self) -> str:
        """One line for people."""
        new = [file for file in self.files if not file.reused]
        return (
            f"{len(self.files)} files, {readable(sum(file.bytes for file in self.files))}, md5 verified;"
            f" {len(new)} of them new ({readable(sum(file.bytes for file in new))})"
        )


def look(reference: str, settings: Settings) -> Record:
    """The record with its files; nothing is fetched or written."""
    origin, number = parse_reference(reference)
    with ZenodoClient(origin, contact=settings.contact) as client:
        return client.record(number)


def plan(reference: str, patterns: Sequence[str] | None, to: Path | None, settings: Settings) -> AcquirePlan:
    """Files of the record that fit the patterns, after checking that the disk has room for them.

    Parameters
    ----------
    patterns
        Names or shell patterns; empty is all files.
    to
        Folder; None is one of the home.

    Raises
    ------
    SettingsError
        No such kind of record; a pattern that fits no file.
    RecordError, RecordUnavailable
        No such record; its server is away.
    DiskError
        Too little space.
    """
    origin, _ = parse_reference(reference)
    record = look(reference, settings)
    files = record.chosen(tuple(patterns or ()))
    if not files:
        raise RecordError(
            "the record shows no files",
            where=f"record {record.id}, {record.title}",
            expected="a record with public files",
            fix="bring the files of a restricted record by hand, in a browser",
        )
    # Named after the version that answered: a number that stands for all versions may mean another one tomorrow.
    folder = (to or settings.archives(f"zenodo-{record.id}")).expanduser().absolute()
    missing = sum(max(0, file.size - _held(folder, file)) for file in files)
    _require_space(folder, missing)
    return AcquirePlan(origin, record, folder, files, missing)


def alone(folder: Path) -> AbstractContextManager[None]:
    """Keep other runs out of the folder: two would append to one file."""
    return exclusive(folder, "fetching files of a record")


def run_chunk(
    plan: AcquirePlan, file: RecordFile, settings: Settings, on_bytes: Callable[[int], None] | None = None
) -> AcquiredFile:
    """One file, brought or found whole.

    Parameters
    ----------
    on_bytes
        Called as bytes come, from this thread.

    Raises
    ------
    RecordError, RecordUnavailable, DiskError
        What has come is kept, and the next run goes on from there.
    """
    said = _Said(file)

    def count(n: int) -> None:
        said.add(n)
        if on_bytes is not None:
            on_bytes(n)

    try:
        with ZenodoClient(plan.origin, contact=settings.contact) as client:
            got = client.bring(file, plan.folder, count)
    except OSError as error:
        if (explained := disk_error(error, plan.folder)) is None:
            raise
        raise explained from error
    log.info("%s: %s, md5 verified%s", file.name, readable(got.bytes), " (was here already)" if got.reused else "")
    return AcquiredFile(got.path, got.bytes, got.reused)


class _Said:
    """Says now and then how far a file is, how fast, and how much longer."""

    def __init__(self, file: RecordFile) -> None:
        self._file = file
        self._have = 0
        self._have_then = 0
        self._then = time.monotonic()
        self._lock = threading.Lock()

    def add(self, n: int) -> None:
        with self._lock:
            self._have += n
            now = time.monotonic()
            seconds = now - self._then
            if seconds < EVERY_S or not self._file.size:
                return
            rate = max(self._have - self._have_then, 1) / seconds
            self._then, self._have_then = now, self._have
        log.info(
            "%s: %.0f %% of %s, %s a second, about %.0f min left",
            self._file.name,
            100 * self._have / self._file.size,
            readable(self._file.size),
            readable(rate),
            (self._file.size - self._have) / rate / 60,
        )


def _held(folder: Path, file: RecordFile) -> int:
    for name in (file.name, f".{file.name}.part"):
        try:
            return (folder / name).stat().st_size
        except OSError:
            continue
    return 0


def _require_space(folder: Path, missing: int) -> None:
    place = next(each for each in (folder, *folder.parents) if each.exists())
    if not place.is_dir():
        raise SettingsError(f"{place} is a file, not a folder", fix="choose a folder with --to")
    free = shutil.disk_usage(place).free
    if missing and missing + _HEADROOM > free:
        raise DiskError(
            "the disk has too little space for these files",
            where=str(folder),
            expected=f"{readable(missing)} and {readable(_HEADROOM)} to spare, not {readable(free)} free",
            fix="choose fewer files with --files, or a folder on another disk with --to",
        )
    if not os.access(place, os.W_OK):
        raise DiskError("this user may not write there", where=str(place), fix="choose another folder with --to")
