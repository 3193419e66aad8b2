from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from gzflow.cutouts.naming import cutout_path
from gzflow.cutouts.services import SERVICES, Reply, problems
from gzflow.errors import BadPixels, NoCoverage, Refused, WrongSize
from gzflow.recipe import CutoutSpec

SPEC = CutoutSpec(service="hips2fits", pixels=64, pixscale=0.5, options={"hips": "CDS/P/SDSS9/color"})
SERVICE = SERVICES["hips2fits"]


def answer(pixels: np.ndarray, kind: str = "JPEG", status: int = 200) -> Reply:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return Reply(status, stream.getvalue())


def test_the_request() -> None:
    request = SERVICE.request(SPEC, 10, -20, 0.5)
    assert request.url == "https://alasky.cds.unistra.fr/hips-image-services/hips2fits"
    assert request.params == {
        "hips": "CDS/P/SDSS9/color",
        "ra": "10.00000000",
        "dec": "-20.00000000",
        "fov": "0.0088888889",
        "width": "64",
        "height": "64",
        "projection": "TAN",
        "coordsys": "icrs",
        "format": "jpg",
    }
    mirror = "https://alaskybis.cds.unistra.fr/hips-image-services"
    spec = SPEC.model_copy(update={"url": mirror, "options": {"hips": "a", "format": "png", "max_cut": "99%"}})
    request = SERVICE.request(spec, 10, -20, 0.5)
    assert request.url == f"{mirror}/hips2fits"
    assert (request.params["format"], request.params["max_cut"], request.suffix) == ("png", "99%", ".png")


FITS = SPEC.model_copy(update={"options": {"hips": "CDS/P/x/r", "format": "fits", "nanomaggies": 0.1}})


def test_one_band_in_the_units_of_the_recipe() -> None:
    assert problems(FITS, "grey") == []
    assert "for the recipe grey" in problems(FITS, "gzdecals")[0]
    assert "nanomaggies: missing" in problems(FITS.model_copy(update={"options": {"hips": "a", "format": "fits"}}))[0]
    request = SERVICE.request(FITS, 10, -20, 0.5)
    assert (request.params["format"], request.suffix) == ("fits", ".png")
    assert "nanomaggies" not in request.params
    pixels = np.random.default_rng(1).normal(5, 1, (64, 64)).astype(np.float32)

    def band(values: np.ndarray) -> Reply:
        stream = BytesIO()
        fits.PrimaryHDU(values).writeto(stream)
        return Reply(200, stream.getvalue())

    np.testing.assert_allclose(SERVICE.interpret(request, band(pixels))[0], pixels * 0.1, rtol=1e-6)
    with pytest.raises(NoCoverage, match="no pixel"):
        SERVICE.interpret(request, band(np.full_like(pixels, np.nan)))
    with pytest.raises(WrongSize):
        SERVICE.interpret(request, band(pixels[1:]))
    pixels[:20] = np.nan
    with pytest.raises(BadPixels, match=r"CDS/P/x/r 31\.2%"):
        SERVICE.interpret(request, band(pixels))


def test_units_and_filters_that_are_not_sent_decide_the_file(tmp_path: Path) -> None:
    brighter = FITS.model_copy(update={"options": {**FITS.options, "nanomaggies": 0.2}})
    paths = {cutout_path(tmp_path, "a", SERVICE.request(spec, 10, -20, 0.5), "grey") for spec in (FITS, brighter, SPEC)}
    assert len(paths) == 3


def test_what_is_wrong_with_a_spec_is_found_before_sending() -> None:
    assert problems(SPEC, "as-delivered") == []
    bad = SPEC.model_copy(update={"options": {"format": "gif", "layer": 1}})
    found = problems(bad, "gzdecals")
    assert len(found) == 4
    assert "which HiPS" in " ".join(found)


def test_blank_places() -> None:
    request = SERVICE.request(SPEC, 10, -20, 0.5)
    sky = np.random.default_rng(1).normal(60, 20, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    assert SERVICE.interpret(request, answer(sky)).shape == (64, 64, 3)
    for grey in (0, 255):
        with pytest.raises(NoCoverage, match="does not cover"):
            SERVICE.interpret(request, answer(np.full_like(sky, grey)))
        half = sky.copy()
        half[:50] = grey
        with pytest.raises(BadPixels, match="blank"):
            SERVICE.interpret(request, answer(half))
    with pytest.raises(WrongSize):
        SERVICE.interpret(request, answer(sky[:32]))
    with pytest.raises(Refused, match="unknown HiPS"):
        SERVICE.interpret(request, Reply(404, b"unknown HiPS"))
