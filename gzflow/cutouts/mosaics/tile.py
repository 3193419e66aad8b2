"""One tile: the files of its bands, their pixel grid on the sky, and what of their headers is needed to use it."""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import ICRS, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, NoConvergence
from astropy.wcs.utils import proj_plane_pixel_scales, skycoord_to_pixel, wcs_to_celestial_frame
from numpy.typing import NDArray

# All cards that FITS WCS papers I and II, SIP and the IRAF and SCAMP conventions give a celestial image.
_WCS_CARD = re.compile(
    r"NAXIS[12]?|WCSAXES|RADESYS|RADECSYS|EQUINOX|EPOCH|LONPOLE|LATPOLE|(?:CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA)[12]|"
    r"(?:CD|PC)[12]_[12]|P[VS][12]_\d+|[AB]P?_(?:ORDER|DMAX|\d_\d)|WAT[0-2]_\d+"
)
_SAMPLES = 9
"""Points along each side of the grid that a footprint is measured with."""
_SAME_GRID = 0.01
"""Pixels by which the grids of a tile's bands may differ."""


class UnusableTile(ValueError):
    """Why one tile cannot be used; collected, so that all are reported at once."""


@dataclass(frozen=True)
class TileFile:
    """A band of a tile: the file, what tells whether it changed, and the number of its image unit."""

    path: str
    size: int
    mtime_ns: int
    hdu: int

    @classmethod
    def of(cls, path: Path, hdu: int) -> TileFile:
        """The file as it is now."""
        status = path.stat()
        return cls(str(path), status.st_size, status.st_mtime_ns, hdu)


@dataclass(frozen=True)
class Tile:
    """A tile whose bands share one pixel grid.

    Attributes
    ----------
    name
        What the patterns' placeholders stand for.
    files
        Band -> file; a band may be absent.
    shape
        (H, W) in pixels.
    cards
        The header cards of the WCS, 80 characters each.
    scale
        Arcsec per pixel at the reference point: the geometric mean of the axes.
    centre, radius
        Unit vector (ICRS) and radians of a cap that holds every pixel.
    """

    name: str
    files: Mapping[str, TileFile]
    shape: tuple[int, int]
    cards: str
    scale: float
    centre: tuple[float, float, float]
    radius: float

    @cached_property
    def wcs(self) -> WCS:
        """The grid on the sky."""
        return WCS(fits.Header.fromstring(self.cards))

    @cached_property
    def _is_plain(self) -> bool:
        """Whether the grid's own coordinates are right ascension and declination, ICRS degrees, without distortion."""
        plain = self.wcs.wcs.lng == 0 and not self.wcs.has_distortion
        return bool(plain and isinstance(wcs_to_celestial_frame(self.wcs), ICRS) and self.wcs.wcs.cunit[0] == "deg")

    def pixels(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Columns x and rows y of positions in degrees (ICRS); 0 is the centre of the first pixel, NaN is nowhere."""
        try:
            if self._is_plain:  # the same numbers at a twentieth of the time, which counts with thousands of tiles
                x, y = self.wcs.all_world2pix(ra, dec, 0)
                return x, y
            x, y = skycoord_to_pixel(SkyCoord(ra, dec, unit="deg", frame="icrs"), self.wcs, origin=0, mode="all")
        except NoConvergence as error:  # distortions are inverted step by step; far outside the image that may fail
            x, y = error.best_solution.T.copy()
            for lost in (error.divergent, error.slow_conv):
                if lost is not None:
                    x[lost] = y[lost] = np.nan
        # astropy's function gives the pixels of longitude and latitude, whichever axes those are.
        return (y, x) if self.wcs.wcs.lng == 1 else (x, y)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        files = {band: [file.path, file.size, file.mtime_ns, file.hdu] for band, file in self.files.items()}
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return plain | {"files": files}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Tile:
        """What `to_dict` gave."""
        return cls(
            name=plain["name"],
            files={band: TileFile(*entry) for band, entry in plain["files"].items()},
            shape=(plain["shape"][0], plain["shape"][1]),
            cards=plain["cards"],
            scale=plain["scale"],
            centre=tuple(plain["centre"]),
            radius=plain["radius"],
        )


def read_tile(name: str, paths: Mapping[str, Path], hdu: int | str | None) -> Tile:
    """A tile from the headers of its files; no pixel is read.

    Raises
    ------
    UnusableTile
        A file that is no FITS image with a celestial WCS or ends early; bands on different grids.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy remarks on every odd card of every header
        bands = {band: _read_header(path, hdu) for band, path in paths.items()}
        first, (_, shape, cards) = next(iter(bands.items()))
        wcs = WCS(fits.Header.fromstring(cards))
        for band, (_, other_shape, other_cards) in bands.items():
            if other_shape != shape or (
                other_cards != cards and not _same_grid(wcs, WCS(fits.Header.fromstring(other_cards)), shape)
            ):
                raise UnusableTile(
                    f"tile {name}: bands {first} and {band} have different pixel grids ({paths[first]}, {paths[band]});"
                    " resample them to one grid first"
                )
        files = {band: TileFile.of(path, bands[band][0]) for band, path in paths.items()}
        scale = float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs)))) * 3600
        centre, radius = _footprint(wcs, shape)
        return Tile(name, files, shape, cards, scale, centre, radius)


def _read_header(path: Path, wanted: int | str | None) -> tuple[int, tuple[int, int], str]:
    """(number of the unit, (H, W), WCS cards)."""
    try:
        with fits.open(path, memmap=True) as units:
            number, unit = _image_unit(path, units, wanted)
            header = unit.header
            if any(key in header for key in ("CPDIS1", "CPDIS2", "D2IMDIS1", "D2IMDIS2")):
                raise UnusableTile(f"{path}: its WCS has distortion tables; resample (drizzle) the image first")
            place = unit.fileinfo()
            if place["file"].compression is None and place["datLoc"] + place["datSpan"] > path.stat().st_size:
                raise UnusableTile(f"{path}: ends early, at {path.stat().st_size:,} bytes")
            cards = "".join(str(card) for card in header.cards if _WCS_CARD.fullmatch(card.keyword))
            shape = (int(header["NAXIS2"]), int(header["NAXIS1"]))
        wcs = WCS(fits.Header.fromstring(cards))
        if wcs.has_celestial:
            wcs_to_celestial_frame(wcs)
    except (FileNotFoundError, PermissionError) as error:
        raise UnusableTile(f"{path}: cannot be opened: {error.strerror}") from error
    except (OSError, KeyError, IndexError, TypeError, EOFError, zlib.error, fits.VerifyError) as error:
        raise UnusableTile(f"{path}: not a FITS image: {error}") from error
    except UnusableTile:
        raise
    except ValueError as error:  # wcslib's errors are among them: the last line is the one that says what
        raise UnusableTile(f"{path}: {str(error).strip().splitlines()[-1]}") from error
    if not wcs.has_celestial:
        raise UnusableTile(f"{path}: unit {number} has no celestial WCS")
    return number, shape, cards


def _image_unit(path: Path, units: fits.HDUList, wanted: int | str | None) -> tuple[int, Any]:
    if wanted is not None:
        try:
            number = units.index_of(wanted)
            unit = units[number]
        except (KeyError, IndexError) as error:
            there = ", ".join(f"{at} {unit.name}".strip() for at, unit in enumerate(units))
            raise UnusableTile(f"{path}: has no unit {wanted} (it has {there})") from error
        if not unit.is_image or unit.header.get("NAXIS") != 2:
            raise UnusableTile(f"{path}: unit {wanted} is no image with two axes")
        return number, unit
    for number, unit in enumerate(units):
        if unit.is_image and unit.header.get("NAXIS") == 2:
            return number, unit
    raise UnusableTile(f"{path}: no unit is an image with two axes")


def _same_grid(one: WCS, other: WCS, shape: tuple[int, int]) -> bool:
    height, width = shape
    x, y = np.array([0, width - 1, 0, width - 1, width / 2]), np.array([0, 0, height - 1, height - 1, height / 2])
    there = other.world_to_pixel(one.pixel_to_world(x, y))
    distance = np.hypot(there[0] - x, there[1] - y)
    # Corners of an all-sky map may lie off the sky in both.
    return bool((distance[np.isfinite(distance)] <= _SAME_GRID).all() and np.isfinite(distance).any())


def _footprint(wcs: WCS, shape: tuple[int, int]) -> tuple[tuple[float, float, float], float]:
    """Unit vector and radius in radians of a cap around every pixel; the whole sky where corners lie off the sky."""
    height, width = shape
    x, y = np.meshgrid(np.linspace(-0.5, width - 0.5, _SAMPLES), np.linspace(-0.5, height - 0.5, _SAMPLES))
    sky = wcs.pixel_to_world(x, y).icrs
    vectors = np.asarray(sky.cartesian.xyz.value)
    centre = vectors.reshape(3, -1).mean(axis=1)
    length = float(np.linalg.norm(centre))
    if not np.isfinite(vectors).all() or length < 0.1:
        return (0.0, 0.0, 1.0), float(np.pi)
    centre /= length
    angles = np.arccos(np.clip(np.tensordot(centre, vectors, 1), -1, 1))
    steps = [np.linalg.norm(np.diff(vectors, axis=axis), axis=0).max() for axis in (1, 2)]
    radius = min(float(angles.max() + max(steps)), float(np.pi))
    return (float(centre[0]), float(centre[1]), float(centre[2])), radius
