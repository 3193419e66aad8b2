"""Squares of pixels: the same as astropy's Cutout2D, on every projection and at every edge."""

from __future__ import annotations

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import Galactic, SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.nddata.utils import NoOverlapError
from astropy.wcs import WCS, Sip
from hypothesis import given, settings
from hypothesis import strategies as st

from gzflow.cutouts.mosaics import cut, cut_bands, native_side
from gzflow.cutouts.mosaics.tile import Tile, read_tile
from gzflow.simulation.tiles import tile_wcs, write_tile

HEIGHT, WIDTH = 90, 70
IMAGE = np.random.default_rng(1).normal(0, 1, (HEIGHT, WIDTH)).astype(">f4")
PROJECTIONS = ("TAN", "SIN", "ARC", "STG", "ZEA", "CAR", "CEA", "MER", "SFL", "AIT", "MOL", "HPX", "COE", "TSC")


def theirs(image, position, side, wcs=None):
    return Cutout2D(image, position, side, wcs=wcs, mode="partial", fill_value=np.nan).data


def grid(projection: str, ra: float = 150.3, dec: float = 2.1) -> WCS:
    cylindrical = projection in {"CAR", "CEA", "MER", "SFL", "AIT", "MOL", "HPX"}
    wcs = tile_wcs(ra, 0.0 if cylindrical else dec, WIDTH, 0.4, projection)
    if projection == "COE":
        wcs.wcs.set_pv([(2, 1, 45.0), (2, 2, 25.0)])
    wcs.wcs.set()
    return wcs


def sip() -> WCS:
    wcs = grid("TAN")
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    a, b = np.zeros((3, 3)), np.zeros((3, 3))
    a[2, 0], a[1, 1], b[0, 2], b[2, 0] = 2e-4, -1e-4, 3e-4, 1e-4
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


def tpv() -> WCS:
    header = fits.Header({"NAXIS": 2, "NAXIS1": WIDTH, "NAXIS2": HEIGHT, "CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"})
    header.update(
        {"CRVAL1": 150.3, "CRVAL2": 2.1, "CRPIX1": 35.5, "CRPIX2": 35.5, "CD1_1": -0.4 / 3600, "CD2_2": 0.4 / 3600}
    )
    header.update(
        {"PV1_0": 1e-5, "PV1_1": 1.001, "PV1_2": 1e-3, "PV1_4": 2.0, "PV2_0": -1e-5, "PV2_1": 0.999, "PV2_5": 1.0}
    )
    return WCS(header)


def rotated() -> WCS:
    wcs = grid("TAN", ra=0.001, dec=-89.99)
    angle = np.radians(33)
    wcs.wcs.pc = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    wcs.wcs.set()
    return wcs


def galactic() -> WCS:
    wcs = tile_wcs(120.0, 40.0, WIDTH, 0.4)
    wcs.wcs.ctype = ["GLON-TAN", "GLAT-TAN"]
    wcs.wcs.radesys = ""
    wcs.wcs.set()
    return wcs


def latitude_first() -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["DEC--TAN", "RA---TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [2.1, 359.9999], [30.0, 40.0], [1e-4, -1.1e-4]
    wcs.wcs.set()
    return wcs


GRIDS = {name: (lambda name=name: grid(name)) for name in PROJECTIONS}
GRIDS |= {
    "TAN-SIP": sip,
    "TPV": tpv,
    "TAN rotated at the pole": rotated,
    "galactic": galactic,
    "latitude first": latitude_first,
}


def as_tile(wcs: WCS) -> Tile:
    header = wcs.to_header(relax=True)
    cards = "".join(str(card) for card in header.cards)
    tile = Tile("t", {}, (HEIGHT, WIDTH), cards, 0.4, (0.0, 0.0, 1.0), np.pi)
    # A header rounds to 12 digits; here both sides are to see the very same grid.
    vars(tile)["wcs"] = wcs
    return tile


@given(
    x=st.floats(-40, WIDTH + 40),
    y=st.floats(-40, HEIGHT + 40),
    side=st.integers(1, 130),
)
@settings(deadline=None)
def test_a_square_is_cutout2ds_square(x, y, side):
    ours = cut(IMAGE, x, y, side)
    assert ours.shape == (side, side)
    assert ours.dtype == np.float32
    try:
        expected = theirs(IMAGE, (x, y), side)
    except NoOverlapError:
        expected = np.full((side, side), np.nan)
    np.testing.assert_array_equal(ours, expected)


@given(at=st.integers(-6, 75), half=st.booleans(), side=st.integers(1, 9))
@settings(deadline=None)
def test_centres_and_corners_of_pixels_round_as_cutout2ds(at, half, side):
    """Where rounding decides: exact centres and exact edges of pixels, odd and even sides."""
    x = y = at + 0.5 * half
    try:
        expected = theirs(IMAGE, (x, y), side)
    except NoOverlapError:
        expected = np.full((side, side), np.nan)
    np.testing.assert_array_equal(cut(IMAGE, x, y, side), expected)


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_a_position_on_the_sky_gives_cutout2ds_square(name):
    wcs = GRIDS[name]()
    rng = np.random.default_rng(7)
    n = 60
    columns, rows = rng.uniform(-0.5, WIDTH - 0.5, n), rng.uniform(-0.5, HEIGHT - 0.5, n)
    sky = wcs.pixel_to_world(columns, rows).icrs
    x, y = as_tile(wcs).pixels(sky.ra.deg, sky.dec.deg)
    for k, side in enumerate(rng.integers(1, 60, n).tolist()):
        position = SkyCoord(sky.ra.deg[k] * u.deg, sky.dec.deg[k] * u.deg, frame="icrs")
        if name == "latitude first":  # Cutout2D mistakes the axes there, unless it is given pixels
            position = tuple(float(value) for value in wcs.world_to_pixel(position))
        np.testing.assert_array_equal(cut(IMAGE, x[k], y[k], side), theirs(IMAGE, position, side, wcs))
    np.testing.assert_allclose(x, columns, atol=1e-4)
    np.testing.assert_allclose(y, rows, atol=1e-4)


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_a_tiles_file_keeps_its_grid(name, tmp_path):
    """The cards that are kept of a header say all that astropy reads in the whole of it; so does an index on disk."""
    path = write_tile(tmp_path / "t.fits", IMAGE, GRIDS[name]())
    with fits.open(path, mode="update") as units:
        units[0].header["OBJECT"] = "M31"
        units[0].header.add_history("made for a test")
    whole = WCS(fits.getheader(path))
    tile = Tile.from_dict(read_tile("t", {"g": path}, None).to_dict())
    assert "OBJECT" not in tile.cards
    columns, rows = np.array([0.0, 33.3, WIDTH - 1]), np.array([0.0, 50.1, HEIGHT - 1])
    sky = whole.pixel_to_world(columns, rows).icrs
    np.testing.assert_array_equal(tile.pixels(sky.ra.deg, sky.dec.deg), whole.world_to_pixel(sky))
    assert tile.scale == pytest.approx(0.4, rel=0.15)
    assert tile.radius < np.radians(0.02)


def test_a_position_behind_the_sky_is_nowhere():
    x, y = as_tile(grid("TAN")).pixels(np.array([330.3]), np.array([-2.1]))
    assert np.isnan(x).all()
    assert np.isnan(y).all()


def test_distortions_that_cannot_be_inverted_are_nowhere():
    wcs = sip()
    wcs.sip = Sip(*(np.where(np.arange(9).reshape(3, 3) == 6, 0.3, 0),) * 2, None, None, wcs.wcs.crpix)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x, _ = as_tile(wcs).pixels(np.array([150.3, 152.0]), np.array([2.1, 3.0]))
    assert np.isfinite(x[0])
    assert np.isnan(x[1])


@pytest.mark.parametrize("dtype", [np.uint8, ">i2", ">i4", ">f4", "<f8"])
def test_every_pixel_type_becomes_float32(dtype):
    image = (IMAGE * 100).astype(dtype)
    found = cut(image, 3.0, 88.0, 11)
    np.testing.assert_array_equal(found, theirs(image.astype(np.float32), (3.0, 88.0), 11))


def test_bands_share_one_square_and_an_absent_one_is_nan():
    found = cut_bands([IMAGE, None, 2 * IMAGE], 20.2, 30.7, 8)
    np.testing.assert_array_equal(found[0], cut(IMAGE, 20.2, 30.7, 8))
    np.testing.assert_array_equal(found[2], 2 * found[0])
    assert np.isnan(found[1]).all()


def test_the_square_in_native_pixels_holds_the_field_of_view():
    assert native_side(424, 0.1, 0.1) == 424
    assert native_side(424, 0.1, 0.262) == 162  # ceil(42.4 / 0.262), the rule of Galaxy Zoo DECaLS
    assert native_side(16, 0.001, 10.0) == 1


def test_galactic_tiles_are_found_from_equatorial_positions():
    x, y = as_tile(galactic()).pixels(*(np.array([v]) for v in _icrs_of_galactic(120.0, 40.0)))
    np.testing.assert_allclose([x[0], y[0]], (WIDTH - 1) / 2, atol=1e-6)


def _icrs_of_galactic(longitude: float, latitude: float) -> tuple[float, float]:
    sky = SkyCoord(Galactic(longitude * u.deg, latitude * u.deg)).icrs
    return sky.ra.deg, sky.dec.deg
