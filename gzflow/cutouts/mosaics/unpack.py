"""The pixels of a tile, opened once for all its galaxies."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from gzflow.cutouts.mosaics.tile import Tile, TileFile
from gzflow.errors import TruncatedImage

IN_MEMORY = 2**28
"""Bytes of one band up to which a compressed tile is unpacked in memory; a larger one goes to a temporary file."""
_STRIP = 512


@contextmanager
def opened(tile: Tile, bands: Sequence[str]) -> Iterator[list[NDArray[np.generic] | None]]:
    """The (H, W) image of each band, None for a band without file.

    Plain files are memory-mapped, so that only what is cut is read. Compressed ones (``.fz``, ``.gz``) are unpacked
    once, in memory or, above `IN_MEMORY` bytes a band, into a temporary file that vanishes at the end.

    Raises
    ------
    TruncatedImage
        A file that cannot be read or is not the one that was indexed.
    """
    with ExitStack() as stack:
        images: list[NDArray[np.generic] | None] = []
        for band in bands:
            file = tile.files.get(band)
            images.append(_image(file, tile, band, stack) if file else None)
        yield images


def _image(file: TileFile, tile: Tile, band: str, stack: ExitStack) -> NDArray[np.generic]:
    where = f"tile {tile.name}, band {band}: {file.path}"
    size = tile.shape[0] * tile.shape[1] * np.dtype(np.float32).itemsize
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = Path(file.path)
            if size > IN_MEMORY and _is_gzip(path):
                path = _unzipped(path, stack)
            units = stack.enter_context(fits.open(path, memmap=True))
            unit = units[file.hdu]
            if isinstance(unit, fits.CompImageHDU):
                image = _unpacked(unit, tile.shape, stack) if size > IN_MEMORY else unit.data
            elif any(key in unit.header for key in ("BSCALE", "BZERO", "BLANK")):
                # Scaled integers have no memory map of their values.
                image = stack.enter_context(fits.open(path, memmap=False))[file.hdu].data
            else:
                image = unit.data
    except (OSError, EOFError, ValueError, TypeError, IndexError, zlib.error, fits.VerifyError) as error:
        raise TruncatedImage(f"the tile cannot be read: {error}", where=where, fix="replace the file") from error
    if image is None or image.shape != tile.shape:
        found = "nothing" if image is None else image.shape
        raise TruncatedImage(
            f"the tile holds {found}", where=where, expected=f"{tile.shape} pixels as when it was indexed"
        )
    return np.asarray(image)


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _unzipped(path: Path, stack: ExitStack) -> Path:
    unpacked = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gzflow-tile-"))) / "tile.fits"
    with gzip.open(path, "rb") as source, unpacked.open("wb") as target:
        shutil.copyfileobj(source, target, 2**20)
    return unpacked


def _unpacked(unit: Any, shape: tuple[int, int], stack: ExitStack) -> NDArray[np.generic]:
    """A compressed image, strip by strip, so that memory holds one strip."""
    file = stack.enter_context(tempfile.TemporaryFile(prefix="gzflow-tile-"))  # noqa: SIM115 - the stack closes it
    image = np.memmap(file, np.float32, "w+", shape=shape)
    for top in range(0, shape[0], _STRIP):
        rows = slice(top, min(top + _STRIP, shape[0]))
        image[rows] = unit.section[rows]
    return image
