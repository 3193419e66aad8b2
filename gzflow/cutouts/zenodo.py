"""Published records on Zenodo: what they hold, and their files on this disk, whole and verified."""

from __future__ import annotations

import hashlib
import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from gzflow import __version__
from gzflow.cutouts.file_part import FilePart, NotTheFile, RecordFile
from gzflow.cutouts.pace import Pace
from gzflow.cutouts.politeness import backoff
from gzflow.errors import RecordError, RecordUnavailable, SettingsError

__all__ = ["Acquired", "Record", "RecordFile", "ZenodoClient", "parse_reference"]
log = logging.getLogger(__name__)

ZENODO = "https://zenodo.org"
MAX_IDLE = 6
"""Attempts in a row that bring not one byte, after which the server counts as away."""
MAX_RESTARTS = 2
"""Times that a file is begun anew because what had come was not the file."""
TIMEOUT = httpx.Timeout(60, connect=20)
# A record's file is never compressed on the way: sizes and ranges are about the file itself.
_HEADERS = {"Accept-Encoding": "identity"}
_REFERENCE = re.compile(r"(?:zenodo:|(?:https?://(?:dx\.)?doi\.org/|doi:)?10\.5281/zenodo\.)?(\d+)", re.IGNORECASE)
_PAGE = re.compile(r"(?:/api)?/records?/(\d+)(?:/.*)?")
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_MD5 = re.compile(r"md5:([0-9a-f]{32})", re.IGNORECASE)


@dataclass(frozen=True)
class Record:
    """What a record says about itself.

    Attributes
    ----------
    id
        Number of this version; one that stands for all versions answers with the newest.
    """

    id: int
    title: str
    licence: str
    doi: str
    files: tuple[RecordFile, ...]

    def chosen(self, patterns: tuple[str, ...]) -> tuple[RecordFile, ...]:
        """Files whose names fit a pattern such as ``*_5.parquet``; all of them where no pattern is given.

        Raises
        ------
        SettingsError
            A pattern that fits nothing; lists what there is.
        """
        idle = [pattern for pattern in patterns if not any(fnmatchcase(file.name, pattern) for file in self.files)]
        if idle:
            raise SettingsError(
                f"no file of the record fits {', '.join(map(repr, idle))}",
                where=f"record {self.id}, {self.title}",
                problems=[f"{file.name} ({file.size:,} bytes)" for file in self.files],
                expected="names or patterns of these files",
                fix="correct --files; quote a pattern, so that the shell does not expand it",
            )
        return tuple(
            file for file in self.files if not patterns or any(fnmatchcase(file.name, each) for each in patterns)
        )


@dataclass(frozen=True)
class Acquired:
    """A file of a record on this disk; `reused` when an earlier run had brought all of it."""

    path: Path
    bytes: int
    reused: bool


class ZenodoClient:
    """Asks one Zenodo for records and files, at the pace that it allows; safe in threads.

    Parameters
    ----------
    origin
        Scheme and host.
    contact
        E-mail address or page for the User-Agent.
    """

    def __init__(self, origin: str = ZENODO, *, contact: str | None = None, backoff_s: float = 1.0) -> None:
        agent = f"gzflow/{__version__} (+{contact or 'https://github.com/gzflow/gzflow'})"
        self._origin = origin
        self._backoff_s = backoff_s
        self._pace = Pace.of(origin)
        self._rng = random.Random()
        self._http = httpx.Client(
            headers={**_HEADERS, "User-Agent": agent.encode("ascii", "ignore").decode()},
            timeout=TIMEOUT,
            follow_redirects=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def record(self, number: int) -> Record:
        """A record with its files.

        Raises
        ------
        RecordError
            There is none, it is restricted, or the answer is no record; file names that leave the folder.
        RecordUnavailable
            The server is away.
        """
        url = f"{self._origin}/api/records/{number}"
        for attempt in range(1, MAX_IDLE + 1):
            try:
                self._pace.wait()
                answer = self._http.get(url)
                self._judge(answer, url)
                return _record(answer.json(), url)
            except (httpx.HTTPError, RecordUnavailable) as error:
                if attempt == MAX_IDLE:
                    raise _away(url, error) from error
                self._sleep(attempt, error)
            except ValueError as error:
                raise RecordError("the answer is no JSON", where=url, fix=f"look at {url} in a browser") from error
        raise AssertionError("unreachable")

    def bring(self, file: RecordFile, folder: Path, on_bytes: Callable[[int], None] = lambda _: None) -> Acquired:
        """The file in `folder`, whole and with the published md5; what an interrupted run had brought is used.

        Bytes go to a hidden ``.part`` file beside it, so that a file of the record's name is always whole.

        Parameters
        ----------
        on_bytes
            Called with the number of bytes that came since the last call; those of an earlier run come first.
            Negative when bytes that had come are thrown away.

        Raises
        ------
        RecordError
            Another file of that name is there; the server refuses; what comes is not the published file.
        RecordUnavailable
            The server is away: what has come is kept for the next run.
        OSError
            The disk is full or read only: what has come is kept.
        """
        path = folder / file.name
        if path.exists():
            _same_or_refuse(path, file)
            on_bytes(file.size)
            return Acquired(path, file.size, reused=True)
        part = FilePart(path, file, on_bytes)
        idle = restarts = 0
        while True:
            try:
                before = part.size
                if before < file.size:
                    self._stream(file, part)
                part.finish()
                return Acquired(path, file.size, reused=False)
            except NotTheFile as error:
                restarts += 1
                part.discard()
                if restarts > MAX_RESTARTS:
                    raise RecordError(
                        f"what comes is not the published file: {error}",
                        where=file.url,
                        expected=f"{file.size:,} bytes with md5 {file.md5}",
                        fix="try again later; if it stays so, tell the record's authors",
                    ) from error
                log.warning("%s begins anew: %s", file.name, error)
            except (httpx.HTTPError, RecordUnavailable) as error:
                idle = 0 if part.size > before else idle + 1
                if idle >= MAX_IDLE:
                    raise _away(file.url, error) from error
                self._sleep(idle + 1, error)

    def _stream(self, file: RecordFile, part: FilePart) -> None:
        """Append what is missing; the server may send that, or the whole file again."""
        headers = part.conditions()
        self._pace.wait()
        with self._http.stream("GET", file.url, headers=headers) as answer:
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise NotTheFile("the server has no bytes after those that came")
            self._judge(answer, file.url)
            start = _start(answer, file)
            if start != part.size:
                part.truncate(start)
            part.remember(answer.headers.get("ETag"))
            with part.open() as write:
                for piece in answer.iter_raw():  # as it comes: nothing is lost in a buffer when the line breaks
                    write(piece)
        if part.size < file.size:
            raise httpx.ReadError(f"the answer ended after {part.size:,} of {file.size:,} bytes")

    def _judge(self, answer: httpx.Response, url: str) -> None:
        """Raise for an answer that is none, and let the next request wait where the server says so."""
        status, headers = answer.status_code, answer.headers
        self._pace.heed(headers, refused=status == httpx.codes.TOO_MANY_REQUESTS)
        if status in {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.REQUEST_TIMEOUT} or answer.is_server_error:
            raise RecordUnavailable(f"the server answers {status} {answer.reason_phrase}", where=url)
        if answer.is_error:
            raise RecordError(
                f"the server answers {status} {answer.reason_phrase}",
                where=url,
                expected="a public record",
                fix="check the number; files of a restricted record must be brought by hand, in a browser",
            )

    def _sleep(self, attempt: int, error: Exception) -> None:
        seconds = backoff(attempt, self._rng, base_s=self._backoff_s)
        log.info("asking again in %.0f s: %s", max(seconds, self._pace.left), str(error) or type(error).__name__)
        time.sleep(seconds)


def parse_reference(text: str) -> tuple[str, int]:
    """Origin and number of a record: ``zenodo:4573248``, a DOI, the address of its page.

    Raises
    ------
    SettingsError
        It is none of these.
    """
    if match := _REFERENCE.fullmatch(text.strip()):
        return ZENODO, int(match[1])
    address = urlsplit(text.strip())
    if address.scheme in {"http", "https"} and address.netloc and (match := _PAGE.fullmatch(address.path)):
        return f"{address.scheme}://{address.netloc}", int(match[1])
    raise SettingsError(
        f"{text!r} is no record that can be fetched",
        expected="zenodo:4573248, 10.5281/zenodo.4573248 or https://zenodo.org/records/4573248",
        fix="look the number up on the record's page",
    )


def _start(answer: httpx.Response, file: RecordFile) -> int:
    """Where the bytes of an answer begin in the file."""
    if answer.status_code != httpx.codes.PARTIAL_CONTENT:
        return 0
    match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if match is None or int(match[3]) != file.size:
        raise NotTheFile(f"a part with Content-Range {answer.headers.get('Content-Range')!r}")
    return int(match[1])


def _same_or_refuse(path: Path, file: RecordFile) -> None:
    found = path.stat().st_size
    if found == file.size:
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == file.md5:
                return
    raise RecordError(
        "another file of that name is there already",
        where=str(path),
        expected=f"{file.size:,} bytes with md5 {file.md5}, not {found:,} bytes of something else",
        fix="move it away, or choose another folder with --to",
    )


def _away(url: str, error: Exception) -> RecordUnavailable:
    return RecordUnavailable(
        "the record's server does not deliver",
        where=url,
        problems=[str(error).splitlines()[0] if str(error) else type(error).__name__],
        fix="run the same command again later: what has come is kept",
    )


def _record(answer: Mapping[str, Any], url: str) -> Record:
    try:
        about = answer["metadata"]
        files = tuple(
            RecordFile(each["key"], int(each["size"]), _md5(each["checksum"]), each["links"]["self"])
            for each in answer["files"]
        )
        record = Record(
            id=int(answer["id"]),
            title=str(about["title"]),
            licence=_licence(about.get("license")),
            doi=str(answer.get("doi", "")),
            files=tuple(sorted(files, key=lambda file: file.name)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(
            "the answer is no record with files",
            where=url,
            problems=[f"{type(error).__name__}: {error}"],
            expected="JSON with id, metadata.title and files, each with key, size, checksum (md5) and links.self",
            fix="look at the record in a browser: it may be restricted, or moved",
        ) from error
    hostile = [file.name for file in record.files if not _plain(file.name)]
    if hostile:
        raise RecordError("file names of the record leave its folder", where=url, problems=[repr(n) for n in hostile])
    return record


def _md5(checksum: str) -> str:
    if (match := _MD5.fullmatch(checksum)) is None:
        raise ValueError(f"checksum {checksum!r} is no md5")
    return match[1].lower()


def _licence(entry: object) -> str:
    return str(entry.get("id", "")) if isinstance(entry, Mapping) else str(entry or "")


def _plain(name: str) -> bool:
    return bool(name) and not name.startswith(".") and not set(name) & set("/\\\0") and name.isprintable()
