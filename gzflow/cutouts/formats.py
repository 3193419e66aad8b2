"""What a JPEG or PNG file says about itself, read from its markers and chunks without decoding a pixel.

Decoders forgive too much: libjpeg pads what a broken download lacks with grey and returns a picture. So whether a
file is whole is decided here, from its structure.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Literal

from gzflow.errors import NotAnImage, TruncatedImage

_SIGNATURES = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "FITS": b"SIMPLE  =",
    "GIF": b"GIF8",
    "TIFF (little endian)": b"II*\x00",
    "TIFF (big endian)": b"MM\x00*",
    "WebP": b"RIFF",
    "BMP": b"BM",
    "ZIP": b"PK\x03\x04",
    "gzip": b"\x1f\x8b",
    "HDF5": b"\x89HDF\r\n\x1a\n",
    "PDF": b"%PDF",
}
# In entropy-coded data every FF is stuffed with 00 or belongs to a restart; anything else is the next marker. Beginning
# with one plain byte (of FFs that fill, the last) lets the search run ten times as fast.
_NEXT_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PNG_DEPTH_AND_COLOUR = {0: "grey", 2: "RGB", 3: "palette", 4: "grey + alpha", 6: "RGBA"}


@dataclass(frozen=True)
class Header:
    """Format, size in pixels, bits a channel, and whether there is transparency."""

    format: Literal["JPEG", "PNG"]
    width: int
    height: int
    depth: int = 8
    alpha: bool = False


def sniff(content: bytes) -> str:
    """Name of the format that the first bytes announce: a picture, another container, ``HTML``, ``JSON``, ``text``."""
    for name, signature in _SIGNATURES.items():
        if content.startswith(signature):
            return name
    start = content[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if re.match(rb"(?i)<!doctype html|<html|<head|<body", start):
        return "HTML"
    if start.startswith(b"<"):
        return "XML"
    if start.startswith((b"{", b"[")):
        return "JSON"
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in start)
    return "text" if start and printable > 0.95 * len(start) else "unknown bytes"


def beginning(content: bytes, length: int = 80) -> str:
    """The first characters of a body on one line, for messages."""
    text = " ".join(content[: 4 * length].decode("utf-8", "replace").split())
    shown = "".join(character if character.isprintable() else "." for character in text)
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def read_header(content: bytes, what: str) -> Header:
    """Header of a JPEG or PNG whose structure is complete to the last byte.

    Raises
    ------
    NotAnImage
        Another format, named with its first characters.
    TruncatedImage
        Empty, ends early, or a PNG chunk whose checksum is wrong.
    """
    if not content:
        raise TruncatedImage("the image is empty (0 bytes)", where=what, expected="a JPEG or PNG")
    found = sniff(content)
    if found == "JPEG":
        return _jpeg(content, what)
    if found == "PNG":
        return _png(content, what)
    shown = f": {beginning(content)!r}" if found in {"HTML", "XML", "JSON", "text"} else ""
    raise NotAnImage(
        f"{found} where an image should be{shown}",
        where=what,
        expected="a JPEG or PNG file",
        fix="convert it to PNG" if found.startswith(("GIF", "TIFF", "WebP", "BMP")) else None,
    )


def _jpeg(content: bytes, what: str) -> Header:
    header: Header | None = None
    position = 2
    while match := _NEXT_MARKER.search(content, position):
        marker = match[1][0]
        if marker == 0xD9:
            if header is None:
                raise NotAnImage("a JPEG without a picture in it", where=what, expected="a JPEG with a frame header")
            return header
        if marker == 0x01:  # the one marker that stands alone
            position = match.end()
            continue
        length = int.from_bytes(content[match.end() : match.end() + 2], "big")
        if marker in _START_OF_FRAME and length >= 8:
            frame = content[match.end() + 2 : match.end() + 7]
            if len(frame) == 5:
                height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
                header = Header("JPEG", width, height, depth=frame[0])
        position = match.end() + max(length, 2)
    raise TruncatedImage(
        f"the JPEG ends early: {len(content):,} bytes without an end-of-image marker",
        where=what,
        expected="a complete file",
        fix="download or export the image again",
    )


def _png(content: bytes, what: str) -> Header:
    header: Header | None = None
    position = 8
    while position + 12 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        end = position + 12 + length
        if end > len(content):
            break
        name = content[position + 4 : position + 8]
        if zlib.crc32(content[position + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            raise TruncatedImage(
                f"the PNG is damaged: wrong checksum in chunk {name.decode('latin-1')!r} at byte {position:,}",
                where=what,
                expected="a complete file",
                fix="download or export the image again",
            )
        if name == b"IHDR" and length == 13:
            width, height = (int.from_bytes(content[position + at : position + at + 4], "big") for at in (8, 12))
            depth, colour = content[position + 16], content[position + 17]
            if colour not in _PNG_DEPTH_AND_COLOUR:
                raise NotAnImage(f"a PNG of unknown colour type {colour}", where=what)
            header = Header("PNG", width, height, depth, alpha=colour in {4, 6})
        if name == b"IEND" and header is not None:
            return header
        position = end
    raise TruncatedImage(
        f"the PNG ends early: {len(content):,} bytes without its last chunk",
        where=what,
        expected="a complete file",
        fix="download or export the image again",
    )
