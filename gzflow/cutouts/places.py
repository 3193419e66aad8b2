"""One image in a file, a ZIP or a tar: its place, and its bytes from there."""

from __future__ import annotations

import bz2
import os
import re
import stat
import tarfile
import threading
import weakref
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from gzflow.errors import MissingImage, NotAnImage, SettingsError, TruncatedImage

ARCHIVES = frozenset({".zip", ".tar"})
MAX_BYTES = 256 * 2**20
OPEN_ARCHIVES = 64
"""Archives that a process keeps open with their directories."""
_DRIVE = re.compile(r"^[A-Za-z]:")
_LOCAL_HEADER = 30
_SPARSE = (tarfile.GNUTYPE_SPARSE,)
_DECOMPRESSORS: dict[int, Callable[[], Any]] = {
    zipfile.ZIP_DEFLATED: lambda: zlib.decompressobj(-zlib.MAX_WBITS),
    zipfile.ZIP_BZIP2: bz2.BZ2Decompressor,
}


@dataclass(frozen=True, order=True)
class ImagePlace:
    """A file, or a member of a ZIP or tar file; survives pickling and needs no index to be read."""

    path: str
    member: str | None = None

    def __str__(self) -> str:
        return self.path if self.member is None else f"{self.path}!{self.member}"


class Extent(NamedTuple):
    """Where a member lies in its archive, in bytes; `header` is a ZIP's local header, of a length yet unknown."""

    header: int | None
    start: int
    stored: int
    size: int
    method: int
    crc: int | None


class OpenArchive:
    """An archive's directory, read once, and its file, kept open.

    Members are read by position: no lock is held, and neither threads nor forked children disturb each other.

    Attributes
    ----------
    extents
        By member name, in the archive's order.
    refused
        Reasons by name of the members that are never read: names that leave the archive, links, encrypted ones.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.extents: dict[str, Extent] = {}
        self.refused: dict[str, str] = {}
        if Path(path).suffix.lower() == ".zip":
            self._index_zip()
        else:
            self._index_tar()
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, name: str, *, checksum: bool = True) -> bytes:
        """A member's bytes, with `checksum` compared with the archive's own where it has one (ZIP).

        Raises
        ------
        KeyError
            No such member.
        EOFError, zipfile.BadZipFile, zlib.error, OSError
            The archive is damaged.
        NotAnImage
            Larger than 256 MiB; what a header says is not trusted, so a bomb is not unpacked either.
        """
        extent = self.extents[name]
        if extent.size > MAX_BYTES:
            raise NotAnImage(f"{extent.size:,} bytes are too many for an image", expected=f"{MAX_BYTES:,}")
        content = self._stored(name, extent)
        if extent.method != zipfile.ZIP_STORED:
            content = _DECOMPRESSORS[extent.method]().decompress(content, extent.size + 1)
        if len(content) != extent.size:
            raise EOFError(f"{len(content):,} bytes instead of {extent.size:,}")
        if checksum and extent.crc is not None and zlib.crc32(content) != extent.crc:
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {name!r}")
        return content

    def _stored(self, name: str, extent: Extent) -> bytes:
        if extent.header is None:
            return os.pread(self._descriptor, extent.stored, extent.start)
        # Two calls, not one for both: cutting a header off copies the image, which costs more than a short read.
        header = os.pread(self._descriptor, _LOCAL_HEADER, extent.header)
        if header[:4] != b"PK\x03\x04":
            raise zipfile.BadZipFile(f"no local header of {name!r} where the directory says")
        lengths = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        return os.pread(self._descriptor, extent.stored, extent.header + _LOCAL_HEADER + sum(lengths))

    def _index_zip(self) -> None:
        with zipfile.ZipFile(self.path) as archive:
            members = archive.infolist()
        for info in members:
            if info.is_dir():
                continue
            linked = stat.S_ISLNK(info.external_attr >> 16)
            if reason := _hostile(info.filename, linked=linked):
                self.refused[info.filename] = reason
            elif info.flag_bits & 1:
                self.refused[info.filename] = "it is encrypted"
            elif info.compress_type != zipfile.ZIP_STORED and info.compress_type not in _DECOMPRESSORS:
                self.refused[info.filename] = f"its compression (method {info.compress_type}) cannot be read"
            else:  # of two members with one name the last counts, as for every program that unpacks them
                self.extents[info.filename] = Extent(
                    info.header_offset, 0, info.compress_size, info.file_size, info.compress_type, info.CRC
                )

    def _index_tar(self) -> None:
        end = Path(self.path).stat().st_size
        with tarfile.open(self.path, "r:") as archive:
            for info in archive:
                if info.isdir():
                    continue
                if reason := _hostile(info.name, linked=info.islnk() or info.issym()):
                    self.refused[info.name] = reason
                elif not info.isreg() or info.type in _SPARSE:
                    self.refused[info.name] = "it is no plain file"
                elif info.offset_data + info.size > end:
                    raise tarfile.ReadError(f"the file ends inside {info.name!r}")
                else:
                    name = info.name.removeprefix("./")
                    self.extents[name] = Extent(None, info.offset_data, info.size, info.size, zipfile.ZIP_STORED, None)


def open_archive(path: Path) -> OpenArchive:
    """The archive's directory, from this process's memory where the file is still the same.

    Raises
    ------
    SettingsError
        Not a complete ZIP or tar file.
    """
    status = path.stat()
    try:
        with _opening:
            return _opened(_State(str(path), status.st_mtime_ns, status.st_size))
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError) as error:
        kind = path.suffix[1:].upper() if path.suffix.lower() == ".zip" else "tar"
        raise SettingsError(f"{path} is not a complete {kind} file ({error}): download it again") from error


def read_image(place: ImagePlace, *, checksum: bool = True) -> bytes:
    """Bytes of an image, from a file or straight out of a ZIP or tar; safe in threads and after a fork.

    Parameters
    ----------
    place
        Where it lies.
    checksum
        Verify a ZIP's checksum, which takes longer than reading. False is for a caller that knows a better one.

    Raises
    ------
    MissingImage
        The file or member is no longer there.
    TruncatedImage
        The member is damaged.
    NotAnImage
        Larger than 256 MiB.
    """
    file = Path(place.path)
    try:
        if place.member is not None:
            return open_archive(file).read(place.member, checksum=checksum)
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise NotAnImage(f"{size:,} bytes are too many for an image", expected=f"{MAX_BYTES:,}")
        return file.read_bytes()
    except NotAnImage as error:
        error.where = str(place)
        raise
    except (FileNotFoundError, KeyError) as error:
        raise MissingImage(
            "the image is no longer there", where=str(place), fix="bring the file back, or run ingest again"
        ) from error
    except (SettingsError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise TruncatedImage(f"the image cannot be read: {error}", where=str(place), fix="copy it again") from error


class _State(NamedTuple):
    """What an open archive depends on: a file that was replaced has another directory."""

    path: str
    mtime_ns: int
    size: int


_opening = threading.Lock()


@lru_cache(maxsize=OPEN_ARCHIVES)
def _opened(state: _State) -> OpenArchive:
    return OpenArchive(state.path)


def _hostile(name: str, *, linked: bool) -> str | None:
    if name.startswith("/") or "\\" in name or _DRIVE.match(name) or ".." in name.split("/") or "\0" in name:
        return "its name leaves the archive"
    return "it is a link" if linked else None
