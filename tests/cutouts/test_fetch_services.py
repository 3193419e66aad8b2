"""Fetching from each service of the simulated sky: what is looked up, what is kept, what a rerun asks for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from gzflow import load_survey
from gzflow.cutouts.fetch import Fetched, Target, fetch_cutouts
from gzflow.cutouts.rgb import RECIPES, resized
from gzflow.cutouts.services import SERVICES, Reply
from gzflow.errors import ServiceUnavailable
from gzflow.recipe import CutoutSpec
from gzflow.simulation.answer import Asked
from gzflow.simulation.faults import Fault
from gzflow.simulation.galaxies import draw_galaxies
from gzflow.simulation.services import LoopbackServices
from gzflow.simulation.sky import SimulatedSky
from gzflow.simulation.telescopes import TELESCOPES

INSIDE, HUBBLE, OUTSIDE = (180.0, 20.0), (53.1, -27.8), (180.0, -70.0)
CASES = {
    "zcut": (HUBBLE, 0.03, "hubble-vz", {"bands": "F606W,F850LP"}, ".png", 1),
    "hapcut": ((150.1, 2.3), 0.06, "candels", {"bands": "F814W,F125W,F160W"}, ".png", 1),
    "hla": (HUBBLE, 0.03, "as-delivered", {"bands": "F606W,F775W,F850LP", "native_pixscale": 0.03}, ".jpg", 2),
    "panstarrs": (INSIDE, 0.25, "as-delivered", {"format": "png"}, ".png", 2),
    "hips2fits": (INSIDE, 0.4, "as-delivered", {"hips": "CDS/P/SDSS9/color"}, ".jpg", 1),
    "sdss": (INSIDE, 0.4, "as-delivered", {"release": "dr7"}, ".jpg", 1),
    "legacysurvey": (INSIDE, 0.4, "sdss", {"layer": "sdss", "format": "fits", "bands": "gri"}, ".png", 1),
}


@pytest.fixture(scope="module")
def sky() -> SimulatedSky:
    decals = TELESCOPES["decals"]
    return SimulatedSky(draw_galaxies(5, 21, redshifts=decals.redshifts, footprint=decals.footprint))


def fetched(service: str, services: LoopbackServices, folder: Path, **manners: float) -> list[Fetched]:
    (ra, dec), scale, recipe, options, _, _ = CASES[service]
    spec = CutoutSpec(
        service=service, url=services.url, options=options, pixels=64, pixscale=scale, rate=1e3, **manners
    )
    targets = [Target("in", ra, dec, scale), Target("out", *OUTSIDE, scale), Target("nowhere", None, 1.0, scale)]
    return asyncio.run(fetch_cutouts(targets, spec, folder, recipe_name=recipe, backoff_s=0.01))


@pytest.mark.parametrize("service", SERVICES)
def test_every_galaxy_ends_and_a_rerun_asks_for_nothing_that_is_there(service: str, sky, tmp_path: Path) -> None:
    suffix, requests = CASES[service][-2:]
    with LoopbackServices(sky) as services:
        done, outside, nowhere = fetched(service, services, tmp_path)
        assert [one.state for one in (done, outside, nowhere)] == ["done", "no-coverage", "failed"]
        assert nowhere.attempts == 0
        assert done.attempts == requests
        assert done.path is not None
        assert done.path.suffix == suffix
        with Image.open(done.path) as picture:
            assert picture.size == (64, 64)
        before = services.count()
        again = fetched(service, services, tmp_path)[0]
        assert (again.path, again.sha256, again.attempts) == (done.path, done.sha256, 0)
        asked_again = services.count() - before
        assert 1 <= asked_again <= 2  # for the place outside alone: its image, or its look-up and a second opinion


def test_a_look_up_in_trouble_is_asked_again(sky, tmp_path: Path) -> None:
    with LoopbackServices(sky, faults=(Fault("unavailable", attempts=2, path="ps1filenames"),)) as services:
        done = fetched("panstarrs", services, tmp_path)[0]
        assert done.state == "done"
        assert services.count("ps1filenames.py?ra=180.00000000&dec=20") == 3
    with LoopbackServices(sky, faults=(Fault("unavailable", path="hlaSIAP"),)) as services:
        failed = fetched("hla", services, tmp_path, attempts=2, patience=0)[0]
        assert failed.state == "to-do"
        assert isinstance(failed.error, ServiceUnavailable)
        assert services.count("fitscut") == 0


def test_bands_become_the_picture_that_the_recipe_makes(sky, tmp_path: Path) -> None:
    with LoopbackServices(sky) as services:
        done = fetched("zcut", services, tmp_path)[0]
        service = SERVICES["zcut"]
        (ra, dec), scale, _, options, _, _ = CASES["zcut"]
        spec = CutoutSpec(service="zcut", url=services.url, options=options, pixels=64, pixscale=scale)
        request = service.request(spec, ra, dec, scale)
        path, query = request.where.removeprefix(services.url).split("?")
        answer, _ = services.answer(Asked(path, query))
    bands = service.interpret(request, Reply(200, answer.content))
    assert done.path is not None
    kept = cv2.imread(str(done.path))[..., ::-1]
    np.testing.assert_array_equal(kept, resized(RECIPES["hubble-vz"](bands), 64))


def test_one_band_of_a_hips_becomes_a_grey_picture(sky, tmp_path: Path) -> None:
    options = {"hips": "CDS/P/SDSS9/r", "format": "fits", "nanomaggies": 1.0}
    with LoopbackServices(sky) as services:
        spec = CutoutSpec(service="hips2fits", url=services.url, options=options, pixels=64, pixscale=0.4, rate=1e3)
        targets = [Target("in", *INSIDE, 0.4), Target("out", *OUTSIDE, 0.4)]
        done, outside = asyncio.run(fetch_cutouts(targets, spec, tmp_path, recipe_name="grey"))
    assert [done.state, outside.state] == ["done", "no-coverage"]
    assert done.path is not None
    pixels = cv2.imread(str(done.path))
    assert pixels.shape == (64, 64, 3)
    assert (np.ptp(pixels, axis=-1) == 0).all()


@pytest.mark.parametrize("name", ["gz2_fits", "gz2_like_decals"])
def test_gz2_is_made_from_bands_of_sdss(name: str, sky, tmp_path: Path) -> None:
    survey = load_survey(name)
    assert survey.cutout is not None
    galaxy = sky.galaxies[0]
    ra, dec = (180.0, 20.0) if not sky.covers(galaxy.ra, galaxy.dec, TELESCOPES["sdss"]) else (galaxy.ra, galaxy.dec)
    with LoopbackServices(sky) as services:
        spec = survey.cutout.model_copy(update={"url": services.url, "rate": 1e3})
        targets = [Target("a", ra, dec, 0.3), Target("b", *OUTSIDE, 0.3)]
        done, outside = asyncio.run(fetch_cutouts(targets, spec, tmp_path, recipe_name=survey.image.recipe))
        assert [done.state, outside.state] == ["done", "no-coverage"]
        asked = next(one.query for one in services.served if "fits-cutout" in one.path)
    assert f"bands={spec.options['bands']}" in asked
    assert "layer=sdss" in asked
    assert "pixscale=0.39600000&size=322" in asked  # 424 x 0.3 arcsec in SDSS' own pixels
    assert done.path is not None
    assert cv2.imread(str(done.path)).shape == (424, 424, 3)
