"""Cutouts from a folder of FITS tiles on one core: gzflow against astropy's Cutout2D, with the same pixels asserted.

Simulated tiles of three bands, galaxies all over them in random order, tiles in the page cache. Three amounts of work:

cut      one band, float32 arrays: finding the tile, reading the square.
picture  one band (recipe grey) or three (gzdecals), checked, as a uint8 RGB array (what goes into a shard).
ingest   the same as `gzflow ingest` does it: PNG with checksum into ZIPs on disk, fsynced, ledger rows made.

The rival opens each tile once too, has all positions turned into pixels in one call, and uses the same recipe and
checks; what differs is how squares are cut, and for `ingest` one PNG file a galaxy. `by hand` is what tutorials show:
Cutout2D with a SkyCoord and the WCS for every galaxy.

For scale: Cutana (arXiv 2511.04429) is quoted with up to 2,264 cutouts a second on 4 workers, 566 a worker. What we
know of it gives neither a cutout's size nor its bands, so the rates here are given for several: the last column is a
scale, not a race.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from astropy.wcs.utils import skycoord_to_pixel
from timing import machine

from gzflow.cutouts.check import refuse_uniform, refuse_unobserved
from gzflow.cutouts.mosaics import NOWHERE, TileIndex, cut, encoded, opened, picture_on_tile
from gzflow.cutouts.rgb import RECIPES
from gzflow.settings import Settings
from gzflow.simulation.tiles import tile_pixels, tile_wcs, write_tile
from gzflow.stages.mosaics import CHUNK, from_tiles
from gzflow.surveys import load_survey
from gzflow.surveys.mosaic import Form

SCALE = 0.262
BANDS = ("g", "r", "z")
RECIPE = {1: "grey", 3: "gzdecals"}
CUTANA_A_WORKER = 2264 / 4
TOML = """
[survey]
name = "bench"
[catalog]
id = "id"
ra = "ra"
dec = "dec"
[mosaic]
bands = {{ {bands} }}
pixels = {pixels}
pixscale = {scale}
format = "{form}"
[image]
recipe = "{recipe}"
[[question]]
name = "ring"
answers = ["yes", "no"]
"""


def make_tiles(folder: Path, n_tiles: int, side: int, n: int, inset: int) -> tuple[np.ndarray, np.ndarray]:
    """Tiles along the equator, and positions in degrees `inset` pixels from the outer edge or farther."""
    rng = np.random.default_rng(42)
    width = side * SCALE / 3600
    # Tiles overlap by a cutout, so that each galaxy lies wholly inside one.
    step, reach = width - 2 * inset * SCALE / 3600, width / 2 - inset * SCALE / 3600
    ra = rng.uniform(180 - reach, 180 + step * (n_tiles - 1) + reach, n)
    dec = rng.uniform(-reach, reach, n)
    for k in range(n_tiles):
        wcs = tile_wcs(180 + k * step, 0, side, SCALE)
        for j, band in enumerate(BANDS):
            pixels = tile_pixels(wcs, side, ra, dec, noise=0.005, peak=0.5 + 0.2 * j, seed=10 * k + j)
            write_tile(folder / f"t{k:02d}-{band}.fits", pixels, wcs)
    return ra, dec


class Case:
    """Galaxies on tiles, cut by both."""

    def __init__(self, folder: Path, ra: np.ndarray, dec: np.ndarray, size: int, form: str, n: int) -> None:
        self.folder, self.ra, self.dec, self.size = folder, ra, dec, size
        self.bands, self.recipe = (("r",) if n == 1 else BANDS), RECIPE[n]
        patterns = ", ".join(f'{band} = "{{tile}}-{band}.fits"' for band in self.bands)
        toml = folder.parent / f"bench-{size}-{form}-{n}.toml"
        toml.write_text(TOML.format(bands=patterns, pixels=size, scale=SCALE, form=form, recipe=self.recipe))
        self.survey = load_survey(toml)
        self.index = TileIndex.build([folder], self.survey.mosaic)
        self.form: Form = form

    def _by_tile(self) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        places = self.index.locate(self.ra, self.dec)
        for number in np.unique(places.tile[places.tile != NOWHERE]):
            rows = np.flatnonzero(places.tile == number)
            rows = rows[np.argsort(places.y[rows])]
            yield number, rows, places.x[rows], places.y[rows]

    def ours_cut(self) -> Iterator[np.ndarray]:
        """One band, float32."""
        for number, _, x, y in self._by_tile():
            with opened(self.index.tiles[number], ("r",)) as (image,):
                for column, row in zip(x.tolist(), y.tolist(), strict=True):
                    yield cut(image, column, row, self.size)

    def theirs_cut(self) -> Iterator[np.ndarray]:
        """The same by Cutout2D at pixels."""
        for number, rows, _, _ in self._by_tile():
            with fits.open(self.folder / f"t{number:02d}-r.fits", memmap=True) as units:
                x, y = skycoord_to_pixel(SkyCoord(self.ra[rows], self.dec[rows], unit="deg"), WCS(units[0].header))
                for position in zip(x, y, strict=True):
                    yield Cutout2D(
                        units[0].data, position, self.size, mode="partial", fill_value=np.nan, copy=True
                    ).data

    def by_hand(self) -> Iterator[np.ndarray]:
        """The same by Cutout2D with a SkyCoord and the WCS each time."""
        for number, rows, _, _ in self._by_tile():
            with fits.open(self.folder / f"t{number:02d}-r.fits", memmap=True) as units:
                wcs = WCS(units[0].header)
                for row in rows:
                    position = SkyCoord(self.ra[row], self.dec[row], unit="deg")
                    yield Cutout2D(
                        units[0].data, position, self.size, wcs=wcs, mode="partial", fill_value=np.nan, copy=True
                    ).data

    def ours_picture(self) -> Iterator[np.ndarray]:
        """RGB arrays."""
        for number, _, x, y in self._by_tile():
            tile = self.index.tiles[number]
            with opened(tile, self.bands) as images:
                for column, row in zip(x.tolist(), y.tolist(), strict=True):
                    yield picture_on_tile(
                        images,
                        tile,
                        self.bands,
                        column,
                        row,
                        pixels=self.size,
                        pixscale=SCALE,
                        recipe_name=self.recipe,
                        what="",
                    )

    def theirs_picture(self) -> Iterator[np.ndarray]:
        """The same by Cutout2D, checks and recipe."""
        for number, rows, _, _ in self._by_tile():
            images = [fits.getdata(self.folder / f"t{number:02d}-{band}.fits", memmap=True) for band in self.bands]
            wcs = self.index.tiles[number].wcs
            x, y = skycoord_to_pixel(SkyCoord(self.ra[rows], self.dec[rows], unit="deg"), wcs)
            for position in zip(x, y, strict=True):
                square = np.array(
                    [Cutout2D(i, position, self.size, mode="partial", fill_value=np.nan).data for i in images],
                    np.float32,
                )
                refuse_unobserved(square, self.bands, "")
                picture = RECIPES[self.recipe](square)
                refuse_uniform(picture, "")
                yield picture

    def ours_ingest(self) -> Iterator[str]:
        """States of ledger rows, pictures in ZIPs."""
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as home:
            settings = Settings.load({}, home=home)
            self.index.save(settings.cutouts("bench") / "mosaics" / "index.json")
            rows = [
                {"id_str": str(at), "ra": ra, "dec": dec, "pixscale": SCALE}
                for at, (ra, dec) in enumerate(zip(self.ra.tolist(), self.dec.tolist(), strict=True))
            ]
            for start in range(0, len(rows), CHUNK):
                for records in from_tiles(self.survey, rows[start : start + CHUNK], [str(self.folder)], settings):
                    yield from (record.state for record in records)

    def theirs_ingest(self) -> Iterator[str]:
        """A file a picture, without fsync, checksum and ledger row."""
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as home:
            for at, picture in enumerate(self.theirs_picture()):
                suffix, content = encoded(picture, self.form, grey=self.recipe == "grey")
                (Path(home) / f"{at}{suffix}").write_bytes(content)
                yield "done"


def rate(call: Callable[[], Iterator[object]], repeats: int) -> float:
    """Cutouts a second, the best of some passes after one that warms the page cache."""
    best = 0.0
    for attempt in range(repeats + 1):
        start = time.perf_counter()
        n = sum(1 for _ in call())
        if attempt:
            best = max(best, n / (time.perf_counter() - start))
    return best


def assert_same(case: Case, n: int) -> None:
    for ours, theirs in (
        (case.ours_cut, case.theirs_cut),
        (case.ours_cut, case.by_hand),
        (case.ours_picture, case.theirs_picture),
    ):
        pairs = list(zip(ours(), theirs(), range(n), strict=False))
        assert len(pairs) == min(n, len(case.ra))
        for mine, other, _ in pairs:
            np.testing.assert_array_equal(mine, other)
    assert all(state == "done" for state in case.ours_ingest())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=4)
    parser.add_argument("--side", type=int, default=3600, help="pixels of a tile, as a Legacy Surveys brick has")
    parser.add_argument("--galaxies", type=int, default=4000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 152, 256])
    parser.add_argument("--form", choices=["png", "png-compressed", "jpeg"], default="png")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    print(machine())
    with tempfile.TemporaryDirectory(prefix="bench-tiles-") as folder:
        tiles = Path(folder) / "tiles"
        ra, dec = make_tiles(tiles, options.tiles, options.side, options.galaxies, max(options.sizes) // 2 + 2)
        print(f"{options.galaxies:,} galaxies on {options.tiles} tiles of {options.side}² px in {len(BANDS)} bands")
        print(
            f"{'':8} {'bands':>5} {'size':>5} {'gzflow/s':>9} {'Cutout2D/s':>11} {'':>7} {'by hand/s':>10}   of 566/s"
        )
        for size in options.sizes:
            for n in (1, 3):
                case = Case(tiles, ra, dec, size, options.form, n)
                assert_same(case, 200)
                for name, ours, theirs, hand in (
                    ("cut", case.ours_cut, case.theirs_cut, case.by_hand),
                    ("picture", case.ours_picture, case.theirs_picture, None),
                    ("ingest", case.ours_ingest, case.theirs_ingest, None),
                )[n == 3 :]:  # the first is one band in any case
                    mine, other = rate(ours, options.repeats), rate(theirs, options.repeats)
                    shown = f"{rate(hand, 1):10,.0f}" if hand else " " * 10
                    print(
                        f"{name:8} {n if name != 'cut' else 1:>5} {size:>5} {mine:>9,.0f} {other:>11,.0f}"
                        f" {mine / other:>6.1f}x {shown}   {mine / CUTANA_A_WORKER:.1f}x",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
