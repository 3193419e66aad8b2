"""Members of a ZIP that a service sent, read in memory with limits on what they may unpack to."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO

from gzflow.cutouts.formats import beginning, sniff
from gzflow.errors import NotAnImage, TruncatedImage, WrongSize

MAX_MEMBERS = 1000
MAX_UNPACKED = 512 * 2**20
"""Bytes that all members together may unpack to: a hundred bands of a large galaxy, and no bomb."""


def members(content: bytes, what: str) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of each file in the ZIP, its checksum verified.

    Raises
    ------
    NotAnImage
        No ZIP, or one that is encrypted or packed in a way that Python does not know.
    TruncatedImage
        It ends early, or a member's checksum is wrong.
    WrongSize
        Too many members, or too many bytes in them: judged from the directory, and again while unpacking.
    """
    if sniff(content) != "ZIP":
        raise NotAnImage(
            f"{sniff(content)} where a ZIP should be: {beginning(content)!r}",
            where=what,
            expected="a ZIP of FITS files",
        )
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            files = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(files) > MAX_MEMBERS or sum(entry.file_size for entry in files) > MAX_UNPACKED:
                raise WrongSize(
                    f"the ZIP of {len(content):,} bytes claims {len(files):,} files of "
                    f"{sum(entry.file_size for entry in files):,} bytes",
                    where=what,
                    expected=f"at most {MAX_MEMBERS:,} files of {MAX_UNPACKED:,} bytes together",
                )
            for entry in files:
                with archive.open(entry) as member:
                    # zipfile stops at the size in the directory, and compares the checksum there.
                    yield entry.filename, member.read(entry.file_size + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, struct.error) as error:
        raise TruncatedImage(
            f"the ZIP is damaged: {error}", where=what, expected="a complete file", fix="download it again"
        ) from error
    except (NotImplementedError, RuntimeError) as error:
        raise NotAnImage(f"the ZIP cannot be read: {error}", where=what) from error
