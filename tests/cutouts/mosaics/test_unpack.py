"""Pixels of tiles in every packing, and the picture made of them."""

from __future__ import annotations

import tracemalloc
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from gzflow.cutouts.check import check_image
from gzflow.cutouts.mosaics import cut, encoded, opened, picture_on_tile
from gzflow.cutouts.mosaics.tile import Tile, read_tile
from gzflow.cutouts.rgb import RECIPES
from gzflow.errors import BadPixels, BlankImage, NoCoverage, TruncatedImage, WrongSize
from gzflow.simulation.tiles import tile_pixels, tile_wcs, write_tile

SIDE = 120
WCS = tile_wcs(10.0, 5.0, SIDE, 0.3)
PIXELS = tile_pixels(WCS, SIDE, np.array([10.0]), np.array([5.0]))


def tile_of(*paths: Path) -> Tile:
    return read_tile("t", dict(zip("grz", paths, strict=False)), None)


def content(tile: Tile, bands: str = "g") -> list[np.ndarray | None]:
    with opened(tile, tuple(bands)) as images:
        return [None if image is None else cut(image, 60.0, 55.0, 200) for image in images]


@pytest.mark.parametrize("name", ["t.fits", "t.fits.gz", "t.fits.fz"])
@pytest.mark.parametrize("limit", [2**28, 0])
def test_plain_and_compressed_tiles_have_the_same_pixels(name, limit, tmp_path, monkeypatch):
    monkeypatch.setattr("gzflow.cutouts.mosaics.unpack.IN_MEMORY", limit)
    path = write_tile(tmp_path / name, PIXELS, WCS)
    expected = PIXELS
    if name.endswith("fz"):  # rounded to a sixteenth of the noise
        expected = fits.getdata(path, 1)
        np.testing.assert_allclose(expected, PIXELS, atol=0.01 / 8)
    np.testing.assert_array_equal(content(tile_of(path))[0], cut(expected, 60.0, 55.0, 200))


def test_scaled_integers_and_blanks_become_fluxes(tmp_path):
    image = fits.PrimaryHDU(np.arange(SIDE * SIDE, dtype=np.int16).reshape(SIDE, SIDE), WCS.to_header())
    image.header["BLANK"] = 7
    path = tmp_path / "t.fits"
    image.writeto(path)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as units:
        units[0].header["BSCALE"], units[0].header["BZERO"] = 0.5, 100.0
    with opened(tile_of(path), ("g",)) as (values,):
        assert values is not None
        assert np.isnan(values[0, 7])
        assert values[0, 8] == 104.0


def test_a_plain_tile_is_not_read_whole(tmp_path):
    side = 3000
    wcs = tile_wcs(10.0, 5.0, side, 0.3)
    path = write_tile(tmp_path / "t.fits", np.ones((side, side), np.float32), wcs)
    tile = tile_of(path)
    tracemalloc.start()
    with opened(tile, ("g",)) as (image,):
        cut(image, 1500.0, 1500.0, 100)
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3e6, "36 MB of pixels were copied"


def test_an_absent_band_is_none_and_a_changed_file_is_refused(tmp_path):
    path = write_tile(tmp_path / "g.fits", PIXELS, WCS)
    tile = tile_of(path)
    assert content(tile, "gr")[1] is None
    fits.writeto(path, PIXELS[:50], WCS.to_header(), overwrite=True)
    with pytest.raises(TruncatedImage, match="band g"):
        content(tile)
    path.unlink()
    with pytest.raises(TruncatedImage):
        content(tile)


@pytest.mark.parametrize("name", ["t.fits.gz", "t.fits.fz"])
def test_a_damaged_compressed_tile_is_refused(name, tmp_path):
    path = write_tile(tmp_path / name, PIXELS, WCS)
    tile = tile_of(path)
    whole = bytearray(path.read_bytes())
    middle = len(whole) * 2 // 3
    whole[middle : middle + 400] = b"\xa5" * 400
    path.write_bytes(bytes(whole[: -len(whole) // 4]) if name.endswith("gz") else bytes(whole[:middle]))
    with pytest.raises(TruncatedImage):
        content(tile)


def picture(images, tile, x=60.0, y=60.0, pixels=32, pixscale=0.3, recipe="gzdecals", bands="grz", **more):
    return picture_on_tile(
        images, tile, tuple(bands), x, y, pixels=pixels, pixscale=pixscale, recipe_name=recipe, what="galaxy 7", **more
    )


@pytest.fixture
def tile(tmp_path) -> Tile:
    return tile_of(*(write_tile(tmp_path / f"{band}.fits", PIXELS, WCS) for band in "grz"))


def test_a_picture_is_recipe_then_size_and_survives_its_file(tile):
    images = [PIXELS, 2 * PIXELS, 3 * PIXELS]
    found = picture(images, tile)
    square = np.stack([cut(image, 60.0, 60.0, 32) for image in images])
    np.testing.assert_array_equal(found, RECIPES["gzdecals"](square))
    assert picture(images, tile, pixels=64, pixscale=0.15).shape == (64, 64, 3)
    for form in ("png", "png-compressed"):
        suffix, png = encoded(found, form)
        assert suffix == ".png"
        np.testing.assert_array_equal(check_image(png, size=(32, 32), what="").pixels, found)
        np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(png))), found)
    assert check_image(encoded(found, "jpeg")[1], size=(32, 32), what="").format == "JPEG"


def test_zero_points_bring_pixels_to_the_recipes_unit(tile):
    bright = [100 * PIXELS, 10 * PIXELS, PIXELS]
    np.testing.assert_array_equal(picture(bright, tile, nanomaggies=(0.01, 0.1, 1.0)), picture([PIXELS] * 3, tile))
    grey = picture([100 * PIXELS], tile, recipe="grey", bands="g", nanomaggies=(0.01,))
    one_channel = encoded(grey, "png", grey=True)[1]
    np.testing.assert_array_equal(check_image(one_channel, size=(32, 32), what="").pixels, grey)
    assert len(one_channel) < 0.5 * len(encoded(grey, "png")[1])


def test_what_is_no_picture_is_said(tile):
    hole = PIXELS.copy()
    hole[50:70, 50:70] = np.nan
    with pytest.raises(BadPixels, match=r"r 39\.1%"):
        picture([PIXELS, hole, PIXELS], tile)
    with pytest.raises(BadPixels, match=r"z 100\.0%"):
        picture([PIXELS, PIXELS, None], tile)
    with pytest.raises(BadPixels):
        picture([PIXELS] * 3, tile, x=2.0)
    picture([PIXELS] * 3, tile, x=10.0)  # 6 of 32 columns off the tile
    with pytest.raises(NoCoverage):
        picture([np.zeros_like(PIXELS)] * 3, tile)
    with pytest.raises(BlankImage):
        picture([np.ones_like(PIXELS)] * 3, tile)
    with pytest.raises(WrongSize, match="galaxy 7"):
        picture([PIXELS] * 3, tile, pixscale=1000.0)
    for nothing in (0.0, -0.3):
        with pytest.raises(WrongSize, match="the pixel scale is"):
            picture([PIXELS] * 3, tile, pixscale=nothing)
