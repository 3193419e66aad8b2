from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gzflow.errors import SettingsError
from gzflow.simulation import chance
from gzflow.simulation.cosmology import distance_modulus, kpc_per_arcsec
from gzflow.simulation.footprints import DECALS, Footprint
from gzflow.simulation.galaxies import ELLIPTICAL, FIELDS, IRREGULAR, LENTICULAR, SPIRAL, draw_galaxies
from gzflow.simulation.light import band_fluxes
from gzflow.simulation.telescopes import TELESCOPES, telescope


def test_same_seed_same_galaxies_other_seed_others():
    one, same, other = draw_galaxies(50, 1), draw_galaxies(50, 1), draw_galaxies(50, 2)
    assert all(np.array_equal(one[name], same[name]) for name in FIELDS)
    assert not np.array_equal(one["ra"], other["ra"])
    assert len(np.unique(one["seed"])) == 50


def test_a_galaxy_is_the_row_of_the_columns():
    galaxies = draw_galaxies(20, 3)
    galaxy = galaxies[7]
    assert galaxy.redshift == galaxies["redshift"][7]
    assert isinstance(galaxy.arms, int)
    assert list(galaxies)[7] == galaxy == galaxies[5:10][2]


def test_no_kind_has_what_it_cannot_have():
    galaxies = draw_galaxies(4000, 4)
    kind = galaxies["kind"]
    assert {ELLIPTICAL, LENTICULAR, SPIRAL, IRREGULAR} == set(kind.tolist())
    smooth = kind == ELLIPTICAL
    for name in ("arms", "arm_strength", "bar", "ring", "dust_lane", "clumps", "irregularity"):
        assert (galaxies[name][smooth] == 0).all(), name
    assert (galaxies["arms"][kind != SPIRAL] == 0).all()
    assert ((galaxies["arm_strength"] > 0) == (galaxies["arms"] > 0)).all()
    assert ((galaxies.axis_ratio > 0) & (galaxies.axis_ratio <= 1)).all()
    assert galaxies[int(np.argmax(kind == SPIRAL))].disk_axis_ratio == pytest.approx(
        galaxies.axis_ratio[np.argmax(kind == SPIRAL)]
    )


@pytest.mark.parametrize("arguments", [{"n": 0}, {"n": 3, "redshifts": (0.2, 0.1)}, {"n": 3, "redshifts": (0.0, 0.1)}])
def test_impossible_draws_are_refused(arguments):
    with pytest.raises(SettingsError, match="cannot draw"):
        draw_galaxies(**arguments)


@pytest.mark.parametrize("name", TELESCOPES)
def test_galaxies_lie_in_their_survey(name):
    camera = telescope(name)
    galaxies = draw_galaxies(300, 5, redshifts=camera.redshifts, footprint=camera.footprint)
    assert camera.footprint.contains(galaxies["ra"], galaxies["dec"]).all()
    assert galaxies["redshift"].min() >= camera.redshifts[0]
    assert galaxies["redshift"].max() <= camera.redshifts[1]


def test_unknown_telescope_names_the_known():
    with pytest.raises(SettingsError, match="'euclid'") as caught:
        telescope("euclid")
    assert "decals" in str(caught.value)


@given(st.floats(0, 360, exclude_max=True), st.floats(-90, 90))
def test_a_box_through_ra_zero(ra, dec):
    box = Footprint(((350.0, 10.0, -5.0, 5.0),))
    assert bool(box.contains(ra, dec)) == ((ra >= 350 or ra <= 10) and -5 <= dec <= 5)


def test_footprints_are_filled_evenly():
    ra, dec = DECALS.draw(np.random.default_rng(0), 20_000)
    # Equal areas hold equal numbers: half of the first box's sine range.
    inside = (ra > 110) & (ra < 265)
    middle = (np.sin(np.radians(-7)) + np.sin(np.radians(32))) / 2
    assert (np.sin(np.radians(dec[inside])) < middle).mean() == pytest.approx(0.5, abs=0.02)


def test_distances_agree_with_astropy():
    from astropy.cosmology import FlatLambdaCDM

    model = FlatLambdaCDM(H0=70, Om0=0.3)
    z = np.array([0.02, 0.1, 0.7, 2.5])
    assert distance_modulus(z) == pytest.approx(model.distmod(z).value, abs=2e-3)
    assert kpc_per_arcsec(z) == pytest.approx(1 / model.arcsec_per_kpc_proper(z).value, rel=1e-3)


def test_old_light_is_red_young_light_blue_and_redshift_reddens():
    blue_over_red = band_fluxes((0.475, 0.917), 0.0)[:, 0] / band_fluxes((0.475, 0.917), 0.0)[:, 1]
    assert blue_over_red[0] < blue_over_red[1] < blue_over_red[2]
    assert band_fluxes((0.475,), 0.5)[0] < band_fluxes((0.475,), 0.05)[0]
    assert band_fluxes((0.475, 0.6), np.array([0.1, 0.2, 0.3])).shape == (3, 3, 2)


def test_chance_depends_on_names_and_seeds_alone():
    seeds = np.arange(20_000)
    u, v = chance.uniforms(seeds, "a"), chance.uniforms(seeds, "b")
    assert np.array_equal(u[5:9], chance.uniforms(seeds[5:9], "a"))
    assert u.min() >= 0
    assert u.max() < 1
    assert u.mean() == pytest.approx(0.5, abs=0.01)
    assert abs(np.corrcoef(u, v)[0, 1]) < 0.03
    assert chance.key("a", 1) != chance.key("a", "1")
    assert chance.generator("x", 1).random() == chance.generator("x", 1).random()
