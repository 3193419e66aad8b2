from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gzflow.simulation.exposure import FLAWS, GLARE, MISSING_BAND, TRAIL, add_flaw, flaws
from gzflow.simulation.galaxies import ELLIPTICAL, IRREGULAR, LENTICULAR, SPIRAL, Galaxy, draw_galaxies
from gzflow.simulation.light import band_fluxes
from gzflow.simulation.render import empty_sky, render
from gzflow.simulation.stretch import colour_picture
from gzflow.simulation.telescopes import TELESCOPES

DECALS, SDSS, HUBBLE = (TELESCOPES[name] for name in ("decals", "sdss", "hubble"))


@pytest.fixture(autouse=True)
def _lonely(monkeypatch):
    """No sources around the galaxy: what is measured is the galaxy."""
    monkeypatch.setattr("gzflow.simulation.surroundings.GALAXIES_PER_ARCMIN2", 0.0)
    monkeypatch.setattr("gzflow.simulation.surroundings.STARS_PER_ARCMIN2", 0.0)


def galaxy(**changes) -> Galaxy:
    plain = {
        "seed": 12,
        "kind": LENTICULAR,
        "magnitude": 16.0,
        "radius": 4.0,
        "redshift": 0.05,
        "position_angle": 0.0,
        "inclination": 0.0,
        "thickness": 0.15,
        "bulge": 0.0,
        "bulge_boxiness": 0.0,
        "arms": 0,
        "arm_strength": 0.0,
        "bar": 0.0,
        "ring": 0.0,
        "dust_lane": 0.0,
        "irregularity": 0.0,
        "clumps": 0,
        "clump_strength": 0.0,
        "companion": 0.0,
        "disturbance": 0.0,
        "lens": 0.0,
    }
    return replace(draw_galaxies(1, 1)[0], **(plain | changes))


SPIRAL_LOOK = {"kind": SPIRAL, "arms": 2, "arm_strength": 0.9, "pitch": 20.0, "flocculence": 0.1}


def moments(image):
    n = image.shape[-1]
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    total = image.sum()
    cx, cy = (image * x).sum() / total, (image * y).sum() / total
    second = [(image * (a - ca) * (b - cb)).sum() / total for a, ca, b, cb in ((x, cx, x, cx), (y, cy, y, cy))]
    return cx, cy, *second


def test_a_picture_is_float32_bands_and_reproducible():
    image = render(galaxy(), DECALS, 64, 0.8)
    assert image.shape == (3, 64, 64)
    assert image.dtype == np.float32
    assert np.isfinite(image).all()
    assert np.array_equal(image, render(galaxy(), DECALS, 64, 0.8))
    assert not np.array_equal(image, render(galaxy(seed=13), DECALS, 64, 0.8))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bulge": 0.5, "sersic": 4.0, "inclination": 60.0},
        {"inclination": 88.0, "bulge": 0.3, "bulge_boxiness": 0.9},
        {**SPIRAL_LOOK, "bar": 0.8},
        {"kind": IRREGULAR, "irregularity": 0.8, "clumps": 4, "clump_strength": 0.7},
    ],
    ids=["disk", "bulge", "edge-on", "spiral", "irregular"],
)
@pytest.mark.parametrize("pixscale", [0.5, 1.1])
def test_all_the_light_arrives(changes, pixscale):
    one = galaxy(**changes)
    pixels = int(110 / pixscale)
    image = render(one, DECALS, pixels, pixscale, noise=False)
    # Values are per native pixel: their sum over the picture counts each native pixel's area once.
    found = image.sum(axis=(1, 2)) * (pixscale / DECALS.native_pixscale) ** 2
    total = 10 ** (-0.4 * (one.magnitude - 22.5))
    fluxes = band_fluxes(DECALS.microns, one.redshift) * total
    assert (found > 0.93 * fluxes.min(axis=0)).all()
    assert (found < 1.05 * fluxes.max(axis=0)).all()
    assert found[1] == pytest.approx(total, rel=0.08)


def test_brightness_does_not_depend_on_the_scale_asked_for():
    one = galaxy(bulge=0.2, sersic=1.0)
    fine = render(one, DECALS, 128, 0.4, noise=False)
    coarse = render(one, DECALS, 64, 0.8, noise=False)
    binned = fine.reshape(3, 64, 2, 64, 2).mean(axis=(2, 4))
    assert coarse == pytest.approx(binned, rel=0.03, abs=0.002 * float(binned.max()))


def test_the_galaxy_stands_where_it_is_and_points_where_it_should():
    inclined = galaxy(inclination=75.0, position_angle=90.0)
    cx, cy, along_x, along_y = moments(render(inclined, DECALS, 96, 0.8, noise=False)[1])
    assert (cx, cy) == pytest.approx((0, 0), abs=0.05)
    assert along_x > 4 * along_y  # position angle 90: along east and west
    cx, cy, along_x, along_y = moments(render(galaxy(inclination=75.0), DECALS, 96, 0.8, noise=False)[1])
    assert along_y > 4 * along_x
    cx, cy, *_ = moments(render(galaxy(radius=2.0), DECALS, 96, 0.8, east=8.0, north=-4.0, noise=False)[1])
    assert (cx, cy) == pytest.approx((-10, 5), abs=0.1)  # east is left, south is down


def test_ellipticals_fall_off_like_de_vaucouleurs():
    one = galaxy(kind=ELLIPTICAL, roundness=1.0, sersic=4.0, radius=6.0)
    image = render(one, HUBBLE, 200, 0.3, noise=False)[1]
    row = image[100, 100:]
    at = np.array([6.0, 12.0, 20.0])
    measured = np.interp(at, (np.arange(100) + 0.5) * 0.3, row)
    expected = np.exp(-7.669 * ((at / 6.0) ** 0.25 - 1))
    assert measured / measured[0] == pytest.approx(expected / expected[0], rel=0.15)  # the canvas is periodic


def test_arms_twist_with_their_handedness():
    left, right = (
        render(galaxy(**SPIRAL_LOOK, handedness=hand), DECALS, 96, 0.5, noise=False)[0] for hand in (-1.0, 1.0)
    )
    smooth = render(galaxy(), DECALS, 96, 0.5, noise=False)[0]
    assert np.abs(left - right).sum() > 0.05 * smooth.sum()
    # Two arms look the same after half a turn, up to the knots in them.
    assert np.corrcoef(right.ravel(), np.rot90(right, 2).ravel())[0, 1] > 0.9


def test_two_telescopes_see_the_same_galaxy_differently():
    one = galaxy(**SPIRAL_LOOK)
    sharp = render(one, HUBBLE, 96, 0.5, noise=False)[1]
    blurred = render(one, SDSS, 96, 0.5, noise=False)[1]
    contrast = [np.abs(np.diff(image, axis=0)).sum() / image.sum() for image in (sharp, blurred)]
    assert contrast[0] > 1.2 * contrast[1]
    assert moments(sharp)[:2] == pytest.approx(moments(blurred)[:2], abs=0.5)


def test_noise_is_the_telescopes_own():
    for camera in (SDSS, DECALS):
        sky = empty_sky(5, camera, 128, camera.native_pixscale)
        assert sky.std(axis=(1, 2)) == pytest.approx(camera.noise, rel=0.05)
    fine = empty_sky(5, DECALS, 128, 0.1)
    assert fine.std(axis=(1, 2)) == pytest.approx(0.8 * DECALS.noise, rel=0.25)
    neighbours = np.corrcoef(fine[0, :, 1:].ravel(), fine[0, :, :-1].ravel())[0, 1]
    assert neighbours > 0.5  # resampled noise is smooth


def test_a_companion_and_tides_add_light():
    alone, merging = galaxy(), galaxy(companion=0.8, companion_distance=2.0, companion_angle=90.0, disturbance=0.9)
    a, b = (render(one, DECALS, 96, 0.6, noise=False)[1] for one in (alone, merging))
    assert b.sum() > 1.5 * a.sum()
    assert b[:, :48].sum() > 1.3 * b[:, 48:].sum()  # the companion stands to the east


def test_a_lens_bends_a_blue_arc_around_the_middle():
    plain, lens = (galaxy(kind=ELLIPTICAL, roundness=0.9, sersic=4.0, lens=strength) for strength in (0.0, 1.0))
    a, b = (render(one, DECALS, 96, 0.5, noise=False) for one in (plain, lens))
    arc = (b - a)[0]
    assert arc.max() > 5 * DECALS.noise[0]
    y, x = np.unravel_index(arc.argmax(), arc.shape)
    assert 4 < 0.5 * np.hypot(y - 47.5, x - 47.5) < 8


def test_a_dust_lane_darkens_the_midplane():
    clean, dusty = (galaxy(inclination=88.0, dust_lane=dust) for dust in (0.0, 1.0))
    a, b = (render(one, HUBBLE, 96, 0.2, noise=False)[0] for one in (clean, dusty))
    assert b[48, 48] < 0.8 * a[48, 48]
    assert b.min() > -0.02 * b.max()


def test_exposures_are_flawed_now_and_then():
    seeds = np.arange(50_000)
    found = flaws(seeds, DECALS)
    assert (found > 0).mean() == pytest.approx(0.04, abs=0.005)
    assert set(found.tolist()) == set(range(len(FLAWS)))
    assert ((found > 0) & (flaws(seeds, SDSS) > 0)).mean() < 0.005  # each telescope has its own


@pytest.mark.parametrize("flaw", [TRAIL, GLARE, MISSING_BAND])
def test_flaws_show(flaw):
    image = empty_sky(5, DECALS, 64, 0.8)
    spoilt = image.copy()
    add_flaw(spoilt, DECALS, 0.8, flaw, 5)
    assert np.abs(spoilt - image).max() > 10 * DECALS.noise.min()
    if flaw == MISSING_BAND:
        assert (spoilt == 0).any()


def test_pictures_have_a_dark_sky_and_coloured_galaxies():
    red, blue = galaxy(kind=ELLIPTICAL, roundness=0.9), galaxy(kind=IRREGULAR, irregularity=0.8)
    pictures = [colour_picture(render(one, DECALS, 64, 0.5), DECALS) for one in (red, blue)]
    for picture in pictures:
        assert picture.shape == (64, 64, 3)
        assert picture.dtype == np.uint8
        assert 20 < np.median(picture[:6]) < 60  # the viewer's sky is dark grey
    middle = [picture[26:38, 26:38].astype(float).mean(axis=(0, 1)) for picture in pictures]
    assert middle[0][0] > middle[0][2]  # R > B
    assert middle[1][2] > middle[1][0]
