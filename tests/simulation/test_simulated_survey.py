from __future__ import annotations

import csv

import numpy as np
import polars as pl
import pytest

from gzflow import load_survey
from gzflow.errors import SettingsError
from gzflow.simulation.catalogs import RELEASES, iau_names, petrosian_radii
from gzflow.simulation.galaxies import draw_galaxies
from gzflow.simulation.survey import SimulatedSurvey, read_truth
from gzflow.simulation.telescopes import TELESCOPES


@pytest.mark.parametrize("name", RELEASES)
def test_a_simulated_survey_reads_like_the_real_one(name, tmp_path):
    simulated = SimulatedSurvey.draw(name, 120, 3, pixels=64)
    files = simulated.write(tmp_path, "http://127.0.0.1:9")
    survey = load_survey(files.toml)
    table = pl.read_csv(files.catalog, infer_schema_length=None)
    for join in survey.catalog.join:
        further = pl.read_csv(files.joins[join.table])
        table = table.join(further, left_on=join.id or survey.catalog.id, right_on=join.on, how="left")
    assert survey.tree.to_dict() == simulated.base.tree.to_dict()
    wanted = {survey.catalog.id, survey.catalog.ra, survey.catalog.dec, *survey.catalog.carry}
    for column, total in survey.vote_columns():
        wanted |= {column, total}
    assert wanted - {None} <= set(table.columns)
    assert table[survey.catalog.id].cast(pl.String).to_list() == list(simulated.ids)
    if survey.catalog.where:
        assert 60 < len(table.filter(pl.sql_expr(survey.catalog.where))) < 120 or name == "decals"
    scale = table.select(pl.sql_expr(str(survey.cutout.pixscale)))[:, 0].to_numpy()
    assert scale == pytest.approx(simulated.pixscale, rel=1e-5)
    assert survey.cutout.url == "http://127.0.0.1:9"
    assert survey.cutout.pixels == 64


@pytest.mark.parametrize("name", RELEASES)
def test_votes_come_back_from_the_columns(name, tmp_path):
    simulated = SimulatedSurvey.draw(name, 80, 4)
    survey, table = simulated.base, simulated.table
    for i, (column, total) in enumerate(survey.vote_columns()):
        values = table[column].to_numpy().astype(float)
        if survey.catalog.votes.fraction:
            values = np.nan_to_num(values) * table[total].to_numpy()
        assert np.rint(values) == pytest.approx(simulated.votes.counts[:, i])
    assert simulated.ids == SimulatedSurvey.draw(name, 80, 4).ids


def test_decals_has_the_real_tables_leading_columns(shared_data):
    path = shared_data / "gz_samples/galaxy_zoo_decals/gz_decals_volunteers_5.csv"
    with path.open() as stream:
        real = next(csv.reader(stream))
    simulated = SimulatedSurvey.draw("decals", 5).table.columns
    assert set(simulated) <= set(real)
    assert simulated[:13] == real[:13]


def test_the_field_of_view_does_not_depend_on_the_pixels():
    large, small, near = (
        SimulatedSurvey.draw("decals", 50, 5, pixels=pixels, zoom=zoom)
        for pixels, zoom in ((424, 1.0), (64, 1.0), (64, 2.0))
    )
    assert large.pixscale * 424 == pytest.approx(small.pixscale * 64)
    assert large.pixscale * 424 == pytest.approx(near.pixscale * 64 * 2)
    assert (large.pixscale >= 0.1 - 1e-6).all()


def test_most_galaxies_have_forty_volunteers_the_others_five():
    simulated = SimulatedSurvey.draw("decals", 400, 6, well_voted=0.75)
    numbers = simulated.votes.asked[:, 0]
    assert (numbers > 30).mean() == pytest.approx(0.75, abs=0.08)
    group = simulated.table["upload_group"].to_numpy()
    assert ((numbers < 10) == (group == "active_baseline")).all()
    assert (numbers[numbers < 10] >= 3).all()


def test_the_truth_is_written_beside_the_votes(tmp_path):
    simulated = SimulatedSurvey.draw("decals", 30, 7)
    files = simulated.write(tmp_path, "http://127.0.0.1:9", name="demo")
    assert files.toml.name == "demo.toml"
    assert load_survey(files.toml).name == "demo"
    ids, truth = read_truth(files.truth)
    assert ids == list(simulated.ids)
    assert truth == pytest.approx(simulated.votes.truth)


def test_the_same_galaxies_in_two_surveys():
    camera = TELESCOPES["sdss"]
    galaxies = draw_galaxies(40, 8, redshifts=camera.redshifts, footprint=camera.footprint)
    one, two = (SimulatedSurvey.draw(name, 0, 8, galaxies=galaxies) for name in ("gz2", "decals"))
    apart = np.hypot(one.table["ra"] - two.table["ra"], one.table["dec"] - two.table["dec"]) * 3600
    assert apart.max() < 0.1  # GZ2 publishes float32
    assert len(one.ids) == len(two.ids) == 40


def test_its_sky_shows_its_galaxies_through_its_telescope():
    simulated = SimulatedSurvey.draw("hubble", 20, 9, pixels=48)
    sky = simulated.sky()
    galaxy = simulated.galaxies[3]
    assert sky.camera is TELESCOPES["hubble"]
    assert sky.nearest(galaxy.ra, galaxy.dec) == 3
    assert sky.nearest(galaxy.ra, -galaxy.dec) is None
    assert simulated.picture(3).shape == (48, 48, 3)
    assert (simulated.picture(3) == simulated.picture(3)).all()


@pytest.mark.parametrize(
    "arguments", [{"name": "rings"}, {"pixels": 8}, {"zoom": 0.0}, {"well_voted": 1.5}], ids=lambda a: next(iter(a))
)
def test_what_cannot_be_simulated_is_refused(arguments):
    with pytest.raises(SettingsError, match="cannot simulate survey"):
        SimulatedSurvey.draw(**({"name": "decals", "n": 3} | arguments))


def test_names_are_made_from_positions():
    ra, dec = np.array([123.55200290421928, 11.43382]), np.array([22.14806116822031, -0.84378])
    assert iau_names(ra, dec) == ["J081412.48+220853.0", "J004544.11-005037.6"]


def test_petrosian_radii_are_those_of_real_profiles():
    galaxies = draw_galaxies(500, 9)
    half, ninety = petrosian_radii(galaxies, TELESCOPES["decals"])
    assert ((ninety / half > 1.9) & (ninety / half < 3.5)).all()
