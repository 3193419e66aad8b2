from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gzflow.cutouts.check import check_fits
from gzflow.cutouts.recipes.hubble import candels
from gzflow.cutouts.rgb import RECIPE_BANDS, RECIPES

Pixel = tuple[float, ...]


def viewer(flux: Sequence[float], scales: Pixel, offset: float) -> Pixel:
    """One pixel as legacysurvey/imagine's sdss_rgb and dr2_rgb, in float64."""
    x = [f * s + offset for f, s in zip(flux, scales, strict=True)]
    mean = sum(max(0.0, v) for v in x) / 3 or 1e-6
    curve = math.asinh(20 * mean) / math.sqrt(20)
    return tuple(min(max(v * curve / mean, 0.0), 1.0) * 255 for v in reversed(x))


def coadd(flux: Sequence[float]) -> Pixel:
    """One pixel of the Stripe 82 stretch."""
    x = [max(0.0, f * s) for f, s in zip(flux, (1, 1.176, 1.818), strict=True)]
    mean = sum(x) / 3
    if mean == 0:
        return (0.0, 0.0, 0.0)
    rgb = [v * math.asinh(0.06 * 3.5 * mean) / 3.5 / mean for v in reversed(x)]
    return tuple(v / max(1.0, *rgb) * 255 for v in rgb)


def wherry(rgb: Sequence[float], scales: Sequence[float], nonlinearity: float) -> Pixel:
    """One pixel of the IDL chain nw_scale_rgb, nw_arcsinh_fit, nw_fit_to_box, nw_float_to_byte."""
    scaled = [v * s for v, s in zip(rgb, scales, strict=True)]
    radius = sum(scaled) or 1.0
    value = math.asinh(radius * nonlinearity) / nonlinearity
    fitted = [v * value / radius for v in scaled]
    return tuple(min(max(v / max(1.0, *fitted) * 256, 0.0), 255.0) for v in fitted)


def one_band(flux: Sequence[float]) -> Pixel:
    """One pixel of the GZ DECaLS stretch of a single band."""
    black, white = math.asinh(-0.5), math.asinh(300)
    value = (math.asinh(flux[0] / 0.014) - black) / (white - black)
    return (min(max(value, 0.0), 1.0) * 255,) * 3


BY_HAND = {
    "grey": one_band,
    "legacy": lambda f: viewer(f, (6.0, 3.4, 2.2), 0.03),
    "sdss": lambda f: viewer(f, (2.5, 1.5, 1.0), 0.02),
    "stripe82": coadd,
    "hubble-vi": lambda f: wherry((f[1], (f[0] + f[1]) / 2, f[0]), (30, 20, 16), 2.5),
    "hubble-vz": lambda f: wherry((f[1], (f[0] + f[1]) / 2, f[0]), (30, 20, 16), 2.5),
    "goods": lambda f: wherry((f[3], f[2], (f[0] + f[1]) / 2), (78.75, 38.5, 49), 2.5),
    "candels": lambda f: wherry((f[2], f[1], f[0]), (8.8, 6.6, 8.8), 4.0),
}


def shown(name: str, flux: Sequence[float]) -> np.ndarray:
    return RECIPES[name](np.array(flux, np.float32)[:, None, None])[0, 0].astype(int)


def test_every_recipe_is_computed_by_hand_somewhere() -> None:
    assert set(BY_HAND) | {"gzdecals"} == set(RECIPES)


@pytest.mark.parametrize("name", BY_HAND)
@settings(max_examples=100, deadline=None)
@given(flux=st.lists(st.floats(0, 50, width=32) | st.floats(-0.0625, 0.125, width=32), min_size=4, max_size=4))
def test_every_pixel_follows_the_published_formula(name: str, flux: list[float]) -> None:
    flux = flux[: len(RECIPE_BANDS[name])]
    by_hand = BY_HAND[name](flux)
    # Where red, green and blue cancel, their sum has no digits left in float32.
    scaled = [abs(value) for value in flux]
    if abs(sum(flux)) < 1e-3 * max(1e-6, *scaled) or abs(sum(by_hand)) < 1e-3 * max(1.0, *map(abs, by_hand)):
        return
    assert np.abs(shown(name, flux) - np.floor(by_hand)).max() <= 1


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_north_up_red_last_and_no_memory_of_neighbours(name: str) -> None:
    n = len(RECIPE_BANDS[name])
    bands = np.zeros((n, 8, 10), np.float32)
    bands[-1, 0, 1] = 0.5  # the reddest band, in the lowest row of the sky
    bands[0, 7, 8] = 0.5  # the bluest, in the highest
    picture = RECIPES[name](bands)
    assert picture.shape == (8, 10, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert picture[7, 1].argmax() == 0
    assert picture[0, 8].argmax() == (2 if n > 1 else 0)
    assert min(picture[7, 1, 0], picture[0, 8, 2]) > picture[3, 3].max(), "not where the flux is"
    noise = np.random.default_rng(4).normal(0.05, 0.05, (n, 12, 10)).astype(np.float32)
    np.testing.assert_array_equal(RECIPES[name](noise[:, 3:9, 2:7]), RECIPES[name](noise)[3:9, 2:7])
    missing = noise.copy()
    missing[:, 2, 2] = np.nan
    noise[:, 2, 2] = 0
    np.testing.assert_array_equal(RECIPES[name](missing), RECIPES[name](noise))


@pytest.mark.parametrize(
    ("name", "grey"), [("legacy", 32), ("sdss", 22), ("goods", 0), ("candels", 0), ("stripe82", 0)]
)
def test_no_flux_looks_like_the_services_empty_tile(name: str, grey: int) -> None:
    assert (RECIPES[name](np.zeros((len(RECIPE_BANDS[name]), 4, 4), np.float32)) == grey).all()


@pytest.mark.parametrize("name", ["goods", "candels", "hubble-vi", "stripe82"])
def test_bright_pixels_keep_their_colour(name: str) -> None:
    n = len(RECIPE_BANDS[name])
    colour = shown(name, [400 * (1 + at) for at in range(n)])
    brighter = shown(name, [40_000 * (1 + at) for at in range(n)])
    assert colour[0] == brighter[0] == 255
    np.testing.assert_allclose(colour, brighter, atol=1)
    assert brighter[2] < 255


def test_brighter_candels_galaxies_may_be_raised_more() -> None:
    bands = np.full((3, 2, 2), 0.01, np.float32)
    assert (candels(bands, multiplier=4.4) > candels(bands)).all()


def test_real_bands_follow_the_viewers_formula(shared_data: Path) -> None:
    """A real grz cutout of the Legacy Surveys. No picture of the same bands is published with it to compare with."""
    bands = check_fits((shared_data / "decals_fits" / "example_a.fits").read_bytes(), shape=None, what="a").pixels
    picture = RECIPES["legacy"](bands)
    rows, columns = np.random.default_rng(6).integers(0, 424, (2, 2000))
    expected = np.array([BY_HAND["legacy"](bands[:, 423 - y, x].tolist()) for y, x in zip(rows, columns, strict=True)])
    assert np.abs(picture[rows, columns] - np.floor(expected)).max() <= 1
    assert picture.max() > 200
