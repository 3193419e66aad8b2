"""Pixels of an image that was really decoded, or the reason why it is none."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from gzflow.cutouts.formats import beginning, read_header, sniff
from gzflow.errors import BadPixels, BlankImage, NotAnImage, TruncatedImage, WrongSize

MAX_PIXELS = 64_000_000
"""Refused before decoding beyond this: no survey cutout is larger, but a few kilobytes of PNG can be."""

FITS_BLOCK = 2880
_UNIFORM_RANGE = 3
_BAND_NAMES = "BANDS"


@dataclass(frozen=True)
class Checked:
    """A complete picture: `pixels` is (H, W, 3) uint8 RGB."""

    format: Literal["JPEG", "PNG"]
    width: int
    height: int
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class CheckedFits:
    """A complete FITS image: `pixels` is (bands, H, W) float32 in the file's units, row 0 at the bottom."""

    pixels: NDArray[np.float32]
    header: dict[str, Any]

    @property
    def bands(self) -> str:
        """Band letters in the order of the first axis, empty when the header does not say."""
        return str(self.header.get(_BAND_NAMES, "")).strip()


def check_image(content: bytes, *, size: tuple[int, int] | None, what: str, allow_blank: bool = False) -> Checked:
    """A JPEG or PNG, complete, decoded and not blank.

    Grey images become RGB, transparency is laid over black, and 16-bit PNG are scaled linearly to 8 bits. A picture
    is blank when no channel varies by more than 3 of 255: faint galaxies and black backgrounds pass.

    Parameters
    ----------
    content
        The file's bytes.
    size
        (width, height) that the image must have, in pixels; None allows any.
    what
        Galaxy id, path or URL for the message.
    allow_blank
        Leave it to the caller to judge a picture of one colour.

    Raises
    ------
    NotAnImage, TruncatedImage, WrongSize, BlankImage
        What is wrong, with the first characters of a text body.
    """
    header = read_header(content, what)
    if header.width * header.height == 0 or header.width * header.height > MAX_PIXELS:
        raise WrongSize(
            f"the {header.format} claims {header.width} x {header.height} pixels",
            where=what,
            expected=f"at most {MAX_PIXELS:,} pixels",
            fix="cut the image around the galaxy",
        )
    if size is not None and (header.width, header.height) != tuple(size):
        raise WrongSize(
            f"the image is {header.width} x {header.height} pixels",
            where=what,
            expected=f"{size[0]} x {size[1]} pixels",
        )
    pixels = _decoded(content, keep=header.alpha or header.depth == 16, what=what)
    if pixels.shape[:2] != (header.height, header.width):
        raise TruncatedImage(
            f"the {header.format} decodes to {pixels.shape[1]} x {pixels.shape[0]} pixels",
            where=what,
            expected=f"{header.width} x {header.height} pixels as its header says",
        )
    if not allow_blank:
        refuse_uniform(pixels, what)
    return Checked(header.format, header.width, header.height, pixels)


def refuse_uniform(pixels: NDArray[np.uint8], what: str) -> None:
    """Raise BlankImage when every pixel of (H, W, 3) has the same colour, give or take the codec's noise."""
    if _range(pixels[::8, ::8]) <= _UNIFORM_RANGE and _range(pixels) <= _UNIFORM_RANGE:
        colour = tuple(int(value) for value in np.median(pixels.reshape(-1, pixels.shape[-1]), axis=0))
        raise BlankImage(f"every pixel is {colour}", where=what, expected="an image with a galaxy in it")


def empty_share(pixels: NDArray[np.uint8], grey: int) -> float:
    """Share of 8 x 8 blocks of (H, W, 3) in which no pixel differs from `grey` by more than 1.

    The sky has noise in every such block, and the JPEG codec works on blocks of that size. Blocks that a stripe covers
    in part do not count, so this is a lower limit, close to the truth in pictures of some hundred pixels.
    """
    rows, columns = pixels.shape[0] // 8, pixels.shape[1] // 8
    if rows == 0 or columns == 0:
        return 0.0
    # Eight bytes of the mask are one row of a block; compared as one number, this costs less than decoding does.
    mask = cv2.inRange(pixels[: rows * 8, : columns * 8], (grey - 1,) * 3, (grey + 1,) * 3)
    whole_rows = mask.view(np.uint64) == np.iinfo(np.uint64).max
    return float(whole_rows.reshape(rows, 8, columns).all(axis=1).mean())


def check_fits(content: bytes, *, shape: tuple[int, int, int] | None, what: str, bad_share: float = 0.2) -> CheckedFits:
    """A complete FITS image with enough observed pixels in every band.

    Parameters
    ----------
    content
        The file's bytes; the image is in the first unit that has data, 2-D (one band) or 3-D.
    shape
        (bands, H, W) that the image must have; None allows any.
    what
        Galaxy id, path or URL for the message.
    bad_share
        A band whose share of exact zeros and NaN reaches this is refused (0.2 as Galaxy Zoo DECaLS did).

    Raises
    ------
    NotAnImage, TruncatedImage, WrongSize, BadPixels
        What is wrong, naming bands.
    """
    unit, header, data_start = _image_unit(content, what)
    pixels = _fits_pixels(content, unit, header, data_start, what)
    if shape is not None and pixels.shape != tuple(shape):
        raise WrongSize(f"the FITS image is {pixels.shape}", where=what, expected=f"{shape} as (bands, H, W)")
    checked = CheckedFits(pixels, header)
    names = checked.bands if len(checked.bands) == len(pixels) else [f"band {at}" for at in range(len(pixels))]
    refuse_unobserved(pixels, names, what, bad_share)
    return checked


def refuse_unobserved(pixels: NDArray[np.float32], names: Sequence[str], what: str, bad_share: float = 0.2) -> None:
    """Raise BadPixels when the share of exact zeros and NaN in a band of (bands, H, W) reaches `bad_share`."""
    empty = (pixels == 0) | ~np.isfinite(pixels)
    shares = np.array([np.count_nonzero(band) for band in empty]) / empty[0].size
    if (shares >= bad_share).any():
        listed = ", ".join(
            f"{name} {share:.1%}" for name, share in zip(names, shares, strict=True) if share >= bad_share
        )
        raise BadPixels(
            f"too many pixels were not observed (zero or NaN): {listed}",
            where=what,
            expected=f"less than {bad_share:.0%} in every band",
        )


def _range(pixels: NDArray[np.uint8]) -> int:
    # By OpenCV, for NumPy reduces the first axes of (H, W, 3) ten times as slowly.
    ends = [cv2.minMaxLoc(np.ascontiguousarray(pixels[..., channel]))[:2] for channel in range(pixels.shape[2])]
    return int(max(high - low for low, high in ends))


def _decoded(content: bytes, *, keep: bool, what: str) -> NDArray[np.uint8]:
    # Orientation tags come from cameras; turning a cutout by one would make its size disagree with its header.
    # Straight to RGB where that is possible: turning the channels round afterwards costs as much as decoding.
    flags = cv2.IMREAD_UNCHANGED if keep else cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise TruncatedImage("the image does not decode", where=what, expected="a complete file") from error
    if pixels is None:
        raise TruncatedImage("the image does not decode", where=what, expected="a complete file")
    if not keep:
        return np.ascontiguousarray(pixels)
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    channels = pixels.shape[2]
    if channels in {2, 4}:
        opacity = pixels[..., -1:].astype(np.uint16)
        pixels = ((pixels[..., :-1] * opacity + 127) // 255).astype(np.uint8)
    # OpenCV's order is BGR; grey becomes three equal channels.
    rgb = pixels[..., ::-1] if pixels.shape[2] == 3 else np.repeat(pixels[..., :1], 3, axis=2)
    return np.ascontiguousarray(rgb)


def _image_unit(content: bytes, what: str) -> tuple[int, dict[str, Any], int]:
    """Number and cards of the first unit that has data, and the byte at which they begin."""
    found = sniff(content)
    if not content:
        raise TruncatedImage("the FITS file is empty (0 bytes)", where=what)
    if found != "FITS":
        shown = f": {beginning(content)!r}" if found in {"HTML", "XML", "JSON", "text"} else ""
        raise NotAnImage(f"{found} where FITS should be{shown}", where=what, expected="bytes that begin 'SIMPLE  ='")
    unit, (header, data_start) = 0, _fits_header(content, 0, what)
    # Cutouts of Hubble mosaics keep their image in an extension, behind a first unit without data.
    while header.get("NAXIS") == 0 and data_start < len(content):
        unit, (header, data_start) = unit + 1, _fits_header(content, data_start, what)
    kind = str(header.get("XTENSION", "IMAGE")).strip()
    if kind != "IMAGE":
        raise NotAnImage(
            f"the FITS file begins with a table ({kind})",
            where=what,
            expected="an image, not compressed",
            fix="unpack it with funpack where it is an .fz file",
        )
    return unit, header, data_start


def _fits_header(content: bytes, start: int, what: str) -> tuple[dict[str, Any], int]:
    """Cards of the unit that begins at `start`, and the byte at which its data begin."""
    from astropy.io import fits

    for block in range(start + FITS_BLOCK, len(content) + 1, FITS_BLOCK):
        cards = content[block - FITS_BLOCK : block]
        if any(cards[at : at + 8] == b"END     " for at in range(0, FITS_BLOCK, 80)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    header = fits.Header.fromstring(content[start:block])
                    return {key: header[key] for key in header if key not in {"COMMENT", "HISTORY", ""}}, block
                except (ValueError, LookupError, fits.VerifyError) as error:
                    raise TruncatedImage(f"the FITS header is damaged: {error}", where=what) from error
    raise TruncatedImage(f"the FITS header does not end within {len(content):,} bytes", where=what)


def _fits_pixels(content: bytes, unit: int, header: dict[str, Any], data_start: int, what: str) -> NDArray[np.float32]:
    from astropy.io import fits

    try:
        axes = [int(header[f"NAXIS{axis}"]) for axis in range(1, int(header["NAXIS"]) + 1)]
        item = abs(int(header["BITPIX"])) // 8
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise NotAnImage(f"a FITS header without the image's shape: {error}", where=what) from error
    if len(axes) not in {2, 3} or min(axes) < 1:
        raise NotAnImage(f"a FITS file with axes {axes}", where=what, expected="2 or 3 axes")
    # By Python's integers: a header's axes may multiply to more than 64 bits hold, and wrap round to few.
    if math.prod(axes) > MAX_PIXELS:
        raise WrongSize(f"the FITS image claims {axes} pixels", where=what, expected=f"at most {MAX_PIXELS:,}")
    length = math.prod(axes) * item
    declared = data_start + -(-length // FITS_BLOCK) * FITS_BLOCK
    if len(content) < declared or len(content) % FITS_BLOCK:
        raise TruncatedImage(
            f"the FITS file has {len(content):,} bytes of the {declared:,} it declares",
            where=what,
            expected=f"a complete file, in blocks of {FITS_BLOCK} bytes",
            fix="download it again",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(BytesIO(content), memmap=False) as units:
                data = units[unit].data
    # Whatever a damaged header makes of astropy, the image is of no use.
    except (OSError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError, fits.VerifyError) as error:
        raise TruncatedImage(f"the FITS file does not decode: {error}", where=what) from error
    if data is None:
        raise NotAnImage("a FITS file without an image", where=what)
    pixels = np.ascontiguousarray(data, dtype=np.float32)
    return pixels[None] if pixels.ndim == 2 else pixels
