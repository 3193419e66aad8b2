"""Which tile a galaxy is cut from, for any number of tiles and galaxies."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gzflow.cutouts.mosaics.files import tile_files
from gzflow.cutouts.mosaics.tile import Tile, UnusableTile, read_tile
from gzflow.durable import write_bytes
from gzflow.errors import SettingsError
from gzflow.surveys.mosaic import Mosaic

log = logging.getLogger(__name__)

FORMAT = 2
NOWHERE = -1
_PAGE = 500_000
_WIDE = 0.2
"""Radians; the few tiles larger than this are compared with every galaxy, the others are found through a tree."""
_COMPLETE = 1e9
"""Arcsec that a tile with all bands is ahead of one that lacks some: more than any tile is wide."""


@dataclass(frozen=True)
class Places:
    """Where galaxies lie on tiles; arrays of one length.

    Attributes
    ----------
    tile
        Number of the tile, `NOWHERE` without one.
    x, y
        Column and row on it; NaN without one.
    """

    tile: NDArray[np.int32]
    x: NDArray[np.float64]
    y: NDArray[np.float64]


class TileIndex:
    """The tiles of a survey.

    Parameters
    ----------
    tiles
        Sorted by name.
    bands
        All that a complete tile has.
    hdu
        The unit that was asked for when the headers were read.
    """

    def __init__(self, tiles: Sequence[Tile], bands: Sequence[str], hdu: int | str | None = None) -> None:
        self.tiles = tuple(tiles)
        self.bands = tuple(bands)
        self.hdu = hdu
        self._centres = np.array([tile.centre for tile in self.tiles], np.float64).reshape(-1, 3)
        self._radii = np.array([tile.radius for tile in self.tiles], np.float64)

    @classmethod
    def build(cls, folders: Sequence[Path], mosaic: Mosaic, earlier: TileIndex | None = None) -> Self:
        """The index of all tiles in the folders; headers that `earlier` knows and that did not change are not read.

        Those of another unit are no use, though the files are the same.

        Raises
        ------
        SettingsError
            Bands without files, files that are no image with a WCS, bands on different grids: all at once.
        """
        known = {tile.name: tile for tile in earlier.tiles} if earlier and earlier.hdu == mosaic.hdu else {}
        tiles, problems = [], []
        found = tile_files(folders, mosaic)
        for name, paths in found.items():
            tile = known.get(name)
            if tile is None or not _unchanged(tile, paths):
                try:
                    tile = read_tile(name, paths, mosaic.hdu)
                except UnusableTile as error:
                    problems.append(str(error))
                    continue
            tiles.append(tile)
        if problems:
            raise SettingsError(
                f"{len(problems)} of {len(found)} tiles cannot be used",
                problems=problems,
                expected="FITS images with a celestial WCS, all bands of a tile on one pixel grid",
                fix="replace these files or take them out of the folder; `hdu` in [mosaic] chooses the unit",
            )
        incomplete = sum(len(tile.files) < len(mosaic.bands) for tile in tiles)
        log.info("%d tiles of %d bands, %d of them lack a band", len(tiles), len(mosaic.bands), incomplete)
        return cls(tiles, tuple(mosaic.bands), mosaic.hdu)

    def save(self, path: Path) -> None:
        """Write the index, whole or not at all; one that is there and the same is left as it is."""
        tiles = [tile.to_dict() for tile in self.tiles]
        document = {"format": FORMAT, "bands": self.bands, "hdu": self.hdu, "tiles": tiles}
        content = json.dumps(document, separators=(",", ":")).encode()
        if not path.exists() or path.read_bytes() != content:
            write_bytes(path, content)

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """What `save` wrote; None when there is nothing that this version can read."""
        try:
            document = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            return None
        return cls([Tile.from_dict(plain) for plain in document["tiles"]], document["bands"], document["hdu"])

    def locate(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> Places:
        """The best tile for each position.

        Among the tiles whose pixels hold the position those with all bands come first, and of these the one in which
        it lies farthest from the edge: a cutout that lies wholly inside any of them lies wholly inside that one.

        Parameters
        ----------
        ra, dec
            Degrees, ICRS; NaN is nowhere.
        """
        places = Places(np.full(len(ra), NOWHERE, np.int32), np.full(len(ra), np.nan), np.full(len(ra), np.nan))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for start in range(0, len(ra), _PAGE):
                self._locate_page(slice(start, start + _PAGE), ra, dec, places)
        return places

    def _locate_page(self, page: slice, ra: NDArray[np.float64], dec: NDArray[np.float64], places: Places) -> None:
        finite = np.flatnonzero(np.isfinite(ra[page]) & np.isfinite(dec[page])) + page.start
        longitude, latitude = np.radians(ra[finite]), np.radians(dec[finite])
        vectors = np.stack(
            [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=1
        )
        best = np.full(len(ra[page]), -np.inf)
        for number, rows in self._near(vectors):
            tile, galaxies = self.tiles[number], finite[rows]
            x, y = tile.pixels(ra[galaxies], dec[galaxies])
            height, width = tile.shape
            margin = np.minimum(np.minimum(x + 0.5, width - 0.5 - x), np.minimum(y + 0.5, height - 0.5 - y))
            score = margin * tile.scale + (_COMPLETE if len(tile.files) == len(self.bands) else 0)
            better = (margin >= 0) & (score > best[galaxies - page.start])  # NaN is neither
            chosen = galaxies[better]
            best[chosen - page.start] = score[better]
            places.tile[chosen], places.x[chosen], places.y[chosen] = number, x[better], y[better]

    def _near(self, vectors: NDArray[np.float64]) -> list[tuple[int, NDArray[np.intp]]]:
        """(tile, rows of `vectors` within its cap) for tiles that have any."""
        from scipy.spatial import cKDTree

        if not len(vectors) or not self.tiles:
            return []
        chords = 2 * np.sin(np.minimum(self._radii, np.pi) / 2)
        near = []
        for number in np.flatnonzero(self._radii > _WIDE):
            rows = np.flatnonzero(np.linalg.norm(vectors - self._centres[number], axis=1) <= chords[number])
            near.append((int(number), rows))
        small = np.flatnonzero(self._radii <= _WIDE)
        if len(small):
            pairs = cKDTree(self._centres[small]).sparse_distance_matrix(
                cKDTree(vectors), chords[small].max(), output_type="ndarray"
            )
            pairs = pairs[pairs["v"] <= chords[small][pairs["i"]]]
            pairs = pairs[np.argsort(pairs["i"], kind="stable")]
            ends = np.flatnonzero(np.diff(pairs["i"])) + 1
            near += [(int(small[some["i"][0]]), some["j"]) for some in np.split(pairs, ends) if len(some)]
        return [(number, rows) for number, rows in sorted(near, key=lambda entry: entry[0]) if len(rows)]


def _unchanged(tile: Tile, paths: dict[str, Path]) -> bool:
    if {band: file.path for band, file in tile.files.items()} != {band: str(path) for band, path in paths.items()}:
        return False
    try:
        status = {band: path.stat() for band, path in paths.items()}
    except OSError:  # a link whose file is gone: reading it says so
        return False
    return all(
        (status[band].st_size, status[band].st_mtime_ns) == (file.size, file.mtime_ns)
        for band, file in tile.files.items()
    )
