"""The best tile for each galaxy, as brute force over all tiles finds it; headers read once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from gzflow.cutouts.mosaics import NOWHERE, Tile, TileIndex
from gzflow.cutouts.mosaics.tile import UnusableTile, read_tile
from gzflow.errors import SettingsError
from gzflow.simulation.tiles import tile_wcs, write_tile
from gzflow.surveys.mosaic import Mosaic

SIDE, SCALE = 40, 60.0
MOSAIC = Mosaic(bands={"g": "{tile}-g.fits", "r": "{tile}-r.fits"}, pixels=16, pixscale=1.0)


def make(
    folder: Path, name: str, ra: float, dec: float, bands: str = "gr", projection: str = "TAN", scale=SCALE
) -> None:
    for band in bands:
        wcs = tile_wcs(ra, dec, SIDE, scale, projection)
        write_tile(folder / f"{name}-{band}.fits", np.ones((SIDE, SIDE), np.float32), wcs)


def brute_force(index: TileIndex, ra: float, dec: float) -> int:
    best, answer = -np.inf, NOWHERE
    for number, tile in enumerate(index.tiles):
        if SkyCoord(ra, dec, unit="deg").separation(SkyCoord(*tile.wcs.wcs.crval, unit="deg")).deg > 90:
            continue
        x, y = tile.wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg"))
        margin = min(x + 0.5, SIDE - 0.5 - x, y + 0.5, SIDE - 0.5 - y)
        score = margin * tile.scale + 1e9 * (len(tile.files) == 2)
        if margin >= 0 and score > best:
            best, answer = score, number
    return answer


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> TileIndex:
    """Overlapping tiles of 40 arcmin around the pole, across 0 h, and on the equator; one lacks a band."""
    folder = tmp_path_factory.mktemp("tiles")
    centres = [
        (0.0, 90.0),
        (0.0, 89.5),
        (120.0, 89.5),
        (240.0, 89.5),
        (359.9, 0.0),
        (0.4, 0.1),
        (0.1, 0.5),
        (180.0, -45.0),
    ]
    for k, (ra, dec) in enumerate(centres):
        make(folder, f"t{k}", ra, dec, bands="g" if k == 5 else "gr")
    make(folder, "u", 0.3, -0.3, scale=2 * SCALE)
    return TileIndex.build([folder], MOSAIC)


@settings(deadline=None, max_examples=60)
@given(
    near=st.sampled_from([(0.0, 90.0), (0.1, 0.1), (180.0, -45.0), (77.0, 3.0)]),
    offset=st.tuples(st.floats(-1.2, 1.2), st.floats(-1.2, 1.2)),
)
def test_the_best_tile_is_brute_forces(index, near, offset):
    dec = min(near[1] + offset[1], 90.0)
    ra = (near[0] + offset[0] * (100 if near[1] == 90 else 1)) % 360 % 360  # -1e-99 % 360 is 360
    places = index.locate(np.array([ra]), np.array([dec]))
    assert places.tile[0] == brute_force(index, ra, dec)
    if places.tile[0] == NOWHERE:
        assert np.isnan(places.x[0])
    else:
        x, y = index.tiles[places.tile[0]].wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg"))
        assert (places.x[0], places.y[0]) == (float(x), float(y))


def test_many_positions_at_once_are_as_one_by_one(index):
    rng = np.random.default_rng(5)
    ra = np.concatenate([rng.uniform(0, 360, 200), rng.uniform(-0.6, 1.0, 200) % 360, [np.nan, 0.1]])
    dec = np.concatenate([rng.uniform(89, 90, 200), rng.uniform(-1.0, 1.0, 200), [0.1, np.nan]])
    together = index.locate(ra, dec)
    assert (together.tile[-2:] == NOWHERE).all()
    alone = [index.locate(ra[k : k + 1], dec[k : k + 1]).tile[0] for k in range(len(ra))]
    np.testing.assert_array_equal(together.tile, alone)
    assert len(set(alone)) >= 8
    assert index.locate(np.empty(0), np.empty(0)).tile.shape == (0,)


def test_maps_of_the_whole_sky_are_tiles_too(tmp_path):
    make(tmp_path, "sky", 0.0, 0.0, projection="AIT", scale=3600 * 9.0)
    make(tmp_path, "north", 0.0, 90.0, projection="ZEA", scale=3600 * 3.0)
    index = TileIndex.build([tmp_path], MOSAIC)
    assert [tile.radius for tile in index.tiles][1] == pytest.approx(np.pi)
    places = index.locate(np.array([179.0, 10.0]), np.array([-60.0, 88.0]))
    assert [index.tiles[k].name for k in places.tile] == ["sky", "sky"]
    hemisphere = TileIndex([index.tiles[0]], index.bands)
    assert hemisphere.locate(np.array([10.0, 0.0]), np.array([88.0, -80.0])).tile.tolist() == [0, NOWHERE]


def test_an_index_is_written_and_read_back(index, tmp_path):
    file = tmp_path / "folder" / "index.json"
    index.save(file)
    status = file.stat()
    again = TileIndex.load(file)
    assert again is not None
    assert again.tiles == index.tiles
    ra, dec = np.array([0.1, 0.2, 55.0]), np.array([0.1, 89.7, 55.0])
    np.testing.assert_array_equal(again.locate(ra, dec).x, index.locate(ra, dec).x)
    again.save(file)
    assert file.stat().st_mtime_ns == status.st_mtime_ns, "the same index was written again"
    file.write_text("{")
    assert TileIndex.load(file) is None
    file.write_text("[]")
    assert TileIndex.load(file) is None
    file.write_text('{"format": 99}')
    assert TileIndex.load(file) is None
    assert TileIndex.load(tmp_path / "absent") is None


def test_a_header_is_read_once_unless_its_file_changes(tmp_path):
    make(tmp_path, "a", 10.0, 0.0)
    make(tmp_path, "b", 12.0, 0.0)
    first = TileIndex.build([tmp_path], MOSAIC)
    victim = tmp_path / "a-g.fits"
    status = victim.stat()
    victim.write_bytes(b"\0" * status.st_size)
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert TileIndex.build([tmp_path], MOSAIC, first).tiles == first.tiles
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(SettingsError, match="1 of 2 tiles"):
        TileIndex.build([tmp_path], MOSAIC, first)
    make(tmp_path, "a", 20.0, 0.0)
    assert TileIndex.build([tmp_path], MOSAIC, first).locate(np.array([20.0]), np.array([0.0])).tile[0] == 0


def test_another_unit_of_the_same_files_is_read_anew(tmp_path):
    header = tile_wcs(10.0, 0.0, SIDE, SCALE).to_header()
    units = [fits.ImageHDU(np.full((SIDE, SIDE), k, np.float32), header, name=name) for k, name in enumerate("AB")]
    fits.HDUList([fits.PrimaryHDU(), *units]).writeto(tmp_path / "t.fits")
    index: TileIndex | None = None
    for hdu, number in (("A", 1), ("B", 2), (None, 1), (2, 2), ("A", 1)):
        mosaic = Mosaic(bands={"g": "{tile}.fits"}, hdu=hdu, pixels=16, pixscale=1.0)
        index = TileIndex.build([tmp_path], mosaic, index)
        assert index.tiles[0].files["g"].hdu == number
        index.save(tmp_path / "index.json")
        index = TileIndex.load(tmp_path / "index.json")


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    make(tmp_path, "a", 10.0, 0.0)
    target = (tmp_path / "a-g.fits").rename(tmp_path / "elsewhere")
    (tmp_path / "a-g.fits").symlink_to(target)
    first = TileIndex.build([tmp_path], MOSAIC)
    target.unlink()
    for earlier in (None, first):
        with pytest.raises(SettingsError, match=r"a-g\.fits: cannot be opened: No such file"):
            TileIndex.build([tmp_path], MOSAIC, earlier)


def odd_cases(folder: Path) -> dict[str, Path]:
    wcs = tile_wcs(10.0, 0.0, SIDE, SCALE)
    pixels = np.ones((SIDE, SIDE), np.float32)
    header = wcs.to_header()
    (folder / "text.fits").write_text("hello")
    (folder / "empty.fits").write_bytes(b"")
    fits.writeto(folder / "cube.fits", np.ones((3, 4, 5), np.float32), header)
    fits.writeto(folder / "plain.fits", pixels)
    fits.PrimaryHDU().writeto(folder / "nothing.fits")
    fits.writeto(folder / "frame.fits", pixels, fits.Header({**header, "RADESYS": "FOO"}))
    fits.writeto(folder / "singular.fits", pixels, fits.Header({**header, "CDELT1": 0.0}))
    header["CPDIS1"] = "LOOKUP"
    fits.writeto(folder / "lookup.fits", pixels, header)
    whole = write_tile(folder / "whole.fits", pixels, wcs)
    (folder / "half.fits").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    names = ("frame", "singular", "text", "empty", "cube", "plain", "nothing", "lookup", "half")
    return {name: folder / f"{name}.fits" for name in names}


def test_what_cannot_be_a_tile_is_named(tmp_path):
    for name, path in odd_cases(tmp_path).items():
        with pytest.raises(UnusableTile) as caught:
            read_tile("t", {"g": path}, None)
        assert str(path) in str(caught.value), name
        assert "\n" not in str(caught.value), name


def test_the_unit_is_chosen_by_number_or_name_or_is_the_first_image(tmp_path):
    wcs = tile_wcs(10.0, 0.0, SIDE, SCALE)
    small = fits.ImageHDU(np.zeros((2, 2), np.float32), name="MASK")
    image = fits.ImageHDU(np.ones((SIDE, SIDE), np.float32), wcs.to_header(), name="SCI")
    path = tmp_path / "t.fits"
    fits.HDUList([fits.PrimaryHDU(), small, image]).writeto(path)
    for hdu in (2, "SCI"):
        tile = read_tile("t", {"g": path}, hdu)
        assert (tile.files["g"].hdu, tile.shape) == (2, (SIDE, SIDE))
        assert tile.scale == pytest.approx(SCALE)
    with pytest.raises(UnusableTile, match="no celestial WCS"):
        read_tile("t", {"g": path}, None)
    for hdu in (7, "WHT"):
        with pytest.raises(UnusableTile, match=r"has no unit .* 1 MASK, 2 SCI"):
            read_tile("t", {"g": path}, hdu)
    with pytest.raises(UnusableTile, match="two axes"):
        read_tile("t", {"g": path}, 0)


def test_bands_on_different_grids_are_refused_and_the_same_grid_in_other_words_is_not(tmp_path):
    pixels = np.ones((SIDE, SIDE), np.float32)
    one = write_tile(tmp_path / "g.fits", pixels, tile_wcs(10.0, 0.0, SIDE, SCALE))
    shifted = write_tile(tmp_path / "r.fits", pixels, tile_wcs(10.0, 0.001, SIDE, SCALE))
    with pytest.raises(UnusableTile, match="different pixel grids"):
        read_tile("t", {"g": one, "r": shifted}, None)
    header = fits.Header()
    for axis, (kind, value, step) in enumerate((("RA---TAN", 10.0, -SCALE), ("DEC--TAN", 0.0, SCALE)), 1):
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"], header[f"CRPIX{axis}"] = kind, value, (SIDE + 1) / 2
        header[f"CD{axis}_{axis}"] = step / 3600
    fits.writeto(tmp_path / "z.fits", pixels, header)
    tile = read_tile("t", {"g": one, "z": tmp_path / "z.fits"}, None)
    assert isinstance(tile, Tile)
