from __future__ import annotations

import pickle
from io import BytesIO

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image, ImageDraw

from gzflow import recipe
from gzflow.cutouts.services import SERVICES, Reply, problems
from gzflow.errors import (
    BadPixels,
    BlankImage,
    NoCoverage,
    NotAnImage,
    PermanentCutoutError,
    RateLimited,
    Refused,
    ServiceUnavailable,
    TruncatedImage,
    WrongSize,
)
from gzflow.recipe import CutoutSpec

SDSS = CutoutSpec(service="sdss", pixels=64, pixscale=0.4)
JPEG = CutoutSpec(service="legacysurvey", pixels=64, pixscale=0.5)
FITS = CutoutSpec(service="legacysurvey", options={"format": "fits"}, pixels=64, pixscale=0.5)


def picture(pixels: np.ndarray, kind: str = "JPEG") -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return stream.getvalue()


def sky(side: int = 64, level: float = 32, grain: float = 5) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side / 2
    values = np.random.default_rng(1).normal(level, grain, (side, side, 3))
    return np.clip(values + 150 * np.exp(-np.hypot(x, y) / 5)[..., None], 1, 255).astype(np.uint8)


def text_tile(side: int = 128) -> bytes:
    tile = Image.new("RGB", (side, side))
    ImageDraw.Draw(tile).text((2, side // 2), "Requested (ra, dec) is\noutside the SDSS footprint.", fill="white")
    return picture(np.asarray(tile))


def cube(side: int, bands: int = 3) -> bytes:
    stream = BytesIO()
    data = np.random.default_rng(2).normal(0.01, 0.01, (bands, side, side)).astype(np.float32)
    fits.PrimaryHDU(data).writeto(stream)
    return stream.getvalue()


def interpreted(spec: CutoutSpec, content: bytes, status: int = 200, reason: str = "", **headers: str) -> np.ndarray:
    service = SERVICES[spec.service]
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.interpret(
        service.request(spec, 10.0, 20.0, float(spec.pixscale)), Reply(status, content, names, reason)
    )


def test_every_service_that_surveys_may_name_exists() -> None:
    assert set(SERVICES) == set(recipe.SERVICES)


def test_sdss_request() -> None:
    request = SERVICES["sdss"].request(SDSS, -10.5, 20.25, 0.4)
    assert request.url == "https://skyserver.sdss.org/dr17/SkyServerWS/ImgCutout/getjpeg"
    assert dict(request.params) == {
        "ra": "349.50000000",
        "dec": "20.25000000",
        "scale": "0.40000000",
        "width": "64",
        "height": "64",
        "opt": "",
    }
    assert (request.width, request.height, request.format) == (64, 64, "jpeg")
    elsewhere = SDSS.model_copy(update={"url": "http://127.0.0.1:1/x/", "options": {"release": "dr8", "opt": "G"}})
    assert SERVICES["sdss"].request(elsewhere, 1, 2, 0.4).url == "http://127.0.0.1:1/x/DR8/ImgCutout/getjpeg.aspx"
    dr7 = SDSS.model_copy(update={"url": "http://skyservice.pha.jhu.edu/DR7/ImgCutout/getjpeg.aspx"})
    assert SERVICES["sdss"].request(dr7, 1, 2, 0.4).url == dr7.url
    assert pickle.loads(pickle.dumps(request)) == request


def test_legacy_jpeg_request_asks_for_the_wanted_scale_and_size() -> None:
    request = SERVICES["legacysurvey"].request(JPEG, 190.1086, 1.2005, 0.1)
    assert request.url == "https://www.legacysurvey.org/viewer/jpeg-cutout"
    assert request.params["pixscale"] == "0.10000000"
    assert request.params["size"] == "64"
    assert request.params["layer"] == "ls-dr9"
    assert request.where.startswith("https://www.legacysurvey.org/viewer/jpeg-cutout?ra=190.10860000&dec=1.2")
    assert request.host == "www.legacysurvey.org"
    local = JPEG.model_copy(update={"url": "http://127.0.0.1:9/viewer/"})
    assert SERVICES["legacysurvey"].request(local, 1, 2, 0.1).url == "http://127.0.0.1:9/viewer/jpeg-cutout"


@pytest.mark.parametrize(
    ("release", "url"),
    [
        ("dr7", "http://skyservice.pha.jhu.edu/DR7/ImgCutout/getjpeg.aspx"),
        ("DR8", "http://skyservice.pha.jhu.edu/DR8/ImgCutout/getjpeg.aspx"),
        *[
            (f"dr{n}", f"https://skyserver.sdss.org/dr{n}/SkyServerWS/ImgCutout/getjpeg")
            for n in (12, 14, 16, 17, 18, 19)
        ],
    ],
)
def test_every_release_has_its_host_and_path(release: str, url: str) -> None:
    spec = SDSS.model_copy(update={"options": {"release": release}})
    assert problems(spec) == []
    assert SERVICES["sdss"].request(spec, 1, 2, 0.4).url == url


@pytest.mark.parametrize("release", ["dr6", "dr20", "17", "drx", ""])
def test_releases_that_do_not_exist(release: str) -> None:
    found = problems(SDSS.model_copy(update={"options": {"release": release, "opt": "GX"}}))
    assert len(found) == 2
    assert "dr7 to dr19" in found[0]
    assert "other letters" in found[1]


def test_sdss_as_fits_comes_in_sdss_pixels() -> None:
    spec = FITS.model_copy(update={"options": {"format": "fits", "layer": "sdss", "bands": "gri"}, "pixels": 424})
    assert problems(spec, "sdss") == []
    request = SERVICES["legacysurvey"].request(spec, 1, 2, 0.2)
    assert (request.params["pixscale"], request.width) == ("0.39600000", 215)  # 84.8 arcsec
    assert SERVICES["legacysurvey"].request(spec, 1, 2, 1.0).width == 512


def test_other_bands_than_asked_for_are_refused() -> None:
    stream = BytesIO()
    unit = fits.PrimaryHDU(np.random.default_rng(2).normal(0.01, 0.01, (3, 123, 123)).astype(np.float32))
    unit.header["BANDS"] = "gri"
    unit.writeto(stream)
    with pytest.raises(Refused, match="the bands gri"):
        interpreted(FITS, stream.getvalue())


def test_a_field_of_whole_native_pixels_is_not_asked_for_with_one_more() -> None:
    for pixels in range(16, 512):  # 48 * 0.396 / 0.396 is above 48 in floating point
        spec = FITS.model_copy(
            update={"options": {"format": "fits", "layer": "sdss", "bands": "gri"}, "pixels": pixels}
        )
        assert SERVICES["legacysurvey"].request(spec, 1, 2, 0.396).width == pixels


@pytest.mark.parametrize(
    ("pixscale", "size", "asked"),
    [
        (0.1, 162, 0.262),  # 42.4 arcsec: 161.8 native pixels
        (0.262, 424, 0.262),
        (0.316, 512, 424 * 0.316 / 512),  # 511.4 native pixels round up to the limit
        (0.315, 510, 0.262),
        (1.0, 512, 424 / 512),
    ],
)
def test_legacy_fits_is_asked_for_at_the_native_scale_up_to_512(pixscale: float, size: int, asked: float) -> None:
    spec = FITS.model_copy(update={"pixels": 424})
    request = SERVICES["legacysurvey"].request(spec, 1, 2, pixscale)
    assert (request.width, request.height, request.bands) == (size, size, 3)
    assert float(request.params["pixscale"]) == pytest.approx(asked, abs=1e-8)
    assert request.url.endswith("/viewer/fits-cutout")


@pytest.mark.parametrize(
    ("position", "words"),
    [
        ((None, 2, 0.1), ["ra is None"]),
        ((1, float("nan"), 0.1), ["dec is nan"]),
        ((float("inf"), 95, None), ["ra is inf", "pixscale is None"]),
        ((1, 95, -0.1), ["dec is 95", "pixscale is -0.1"]),
        ((-999, 2, 0.1), ["ra is -999"]),
    ],
)
@pytest.mark.parametrize("spec", [SDSS, JPEG, FITS])
def test_unusable_positions_are_never_sent(spec: CutoutSpec, position: tuple, words: list[str]) -> None:
    with pytest.raises(PermanentCutoutError) as caught:
        SERVICES[spec.service].request(spec, *position)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("spec", "recipe_name", "words"),
    [
        ({"service": "sdss", "pixels": 32}, None, ["64 to 2048"]),
        ({"service": "sdss", "pixels": 2049, "url": "ftp://x/y"}, None, ["ftp://x/y", "64 to 2048"]),
        ({"service": "sdss", "options": {"layer": "x"}}, "gzdecals", ["no option 'layer'", "needs FITS"]),
        ({"service": "legacysurvey", "options": {"format": "png"}}, None, ["jpeg or fits"]),
        ({"service": "legacysurvey", "options": {"format": "fits"}}, "as-delivered", ["needs a recipe"]),
        ({"service": "legacysurvey"}, "gzdecals", ["needs FITS"]),
        (
            {"service": "legacysurvey", "options": {"format": "fits", "bands": "griz"}},
            "gzdecals",
            ["griz, but image.recipe gzdecals needs grz"],
        ),
    ],
)
def test_what_a_service_would_refuse_is_found_before_sending(spec: dict, recipe_name: str | None, words: list) -> None:
    found = problems(CutoutSpec(pixscale=0.3, **spec), recipe_name)
    assert len(found) == len(words)
    assert all(word in " ".join(found) for word in words)


def test_good_specs_have_no_problems() -> None:
    assert problems(SDSS, "as-delivered") == problems(JPEG, "as-delivered") == problems(FITS, "gzdecals") == []


def test_good_answers_are_decoded() -> None:
    pixels = sky()
    np.testing.assert_allclose(interpreted(SDSS, picture(pixels)).mean(), pixels.mean(), atol=1)
    assert interpreted(JPEG, picture(pixels)).shape == (64, 64, 3)
    assert interpreted(FITS, cube(123)).shape == (3, 123, 123)


@pytest.mark.parametrize("spec", [SDSS, JPEG, FITS])
def test_status_codes(spec: CutoutSpec) -> None:
    with pytest.raises(RateLimited) as limited:
        interpreted(spec, b"slow down", 429, retry_after="7")
    assert limited.value.retry_after == 7
    with pytest.raises(ServiceUnavailable) as down:
        interpreted(spec, b"", 503, "Service Unavailable", retry_after="2.5")
    assert down.value.retry_after == 2.5
    assert "HTTP 503 Service Unavailable" in str(down.value)
    for status in (500, 502, 504, 408):
        with pytest.raises(ServiceUnavailable) as error:
            interpreted(spec, b"", status)
        assert error.value.retry_after is None
    for status in (400, 401, 404, 301):
        with pytest.raises(Refused, match=f"HTTP {status}.*Need ra,dec"):
            interpreted(spec, b"Need ra,dec keywords", status)


@pytest.mark.parametrize("spec", [SDSS, JPEG, FITS])
def test_damaged_bodies_with_200(spec: CutoutSpec) -> None:
    good = cube(123) if spec is FITS else picture(sky())
    with pytest.raises(TruncatedImage):
        interpreted(spec, good[: len(good) // 2])
    with pytest.raises(NotAnImage, match=r"HTML.*maintenance"):
        interpreted(spec, b"<html><body>maintenance</body></html>")
    with pytest.raises(WrongSize):
        interpreted(spec, cube(64) if spec is FITS else picture(sky(100)))


def test_outside_the_sdss_footprint_in_all_its_forms() -> None:
    spec = SDSS.model_copy(update={"pixels": 128})
    zeros = (np.asarray(Image.open(BytesIO(text_tile()))).max(axis=-1) == 0).mean()
    assert 0.5 < zeros < 0.97
    said = b"Requested (ra, dec) is outside the SDSS footprint."
    for content, status, reason in (
        (text_tile(), 200, ""),
        (picture(np.zeros((128, 128, 3), np.uint8)), 200, ""),
        (b"", 404, f"NOT FOUND. {said.decode()}"),
        (said, 500, ""),
    ):
        with pytest.raises(NoCoverage, match="outside the SDSS footprint") as caught:
            interpreted(spec, content, status, reason)
        assert "ra=10.0" in str(caught.value.where)
    with pytest.raises(BlankImage):
        interpreted(spec, picture(np.full((128, 128, 3), 90, np.uint8)))


def test_the_edge_of_the_sdss_imaging() -> None:
    spec = SDSS.model_copy(update={"pixels": 128})
    pixels = sky(128)
    pixels[:, :16] = 0  # an eighth
    interpreted(spec, picture(pixels))
    pixels[:, :48] = 0
    with pytest.raises(BadPixels, match=r"3[0-9]% of the picture is black"):
        interpreted(spec, picture(pixels))


@pytest.mark.parametrize("grey", [22, 32])
def test_no_overlap_in_the_legacy_surveys(grey: int) -> None:
    with pytest.raises(NoCoverage, match="no images of this place"):
        interpreted(JPEG, picture(np.full((64, 64, 3), grey, np.uint8)))


def test_stripes_that_were_not_observed() -> None:
    spec = JPEG.model_copy(update={"pixels": 128})
    pixels = sky(128)
    interpreted(spec, picture(pixels))
    few = pixels.copy()
    few[:, 10:24] = 32
    interpreted(spec, picture(few))
    many = pixels.copy()
    many[:40] = 32
    with pytest.raises(BadPixels, match=r"3\d% of the picture"):
        interpreted(spec, picture(many))


def test_an_unknown_layer() -> None:
    for spec in (JPEG, FITS):
        with pytest.raises(Refused) as caught:
            interpreted(spec, b"no such layer")
        assert "'ls-dr9'" in str(caught.value)
        assert "ls-dr10" in str(caught.value)


def test_only_fits_500_asks_for_a_second_opinion_of_the_same_field() -> None:
    legacy = SERVICES["legacysurvey"]
    request = legacy.request(FITS, 10, 20, 0.5)
    second = legacy.second_opinion(request, 500)
    assert second is not None
    assert second.format == "jpeg"
    assert second.url.endswith("/viewer/jpeg-cutout")
    field = float(request.params["pixscale"]) * request.width
    assert float(second.params["pixscale"]) * second.width == pytest.approx(field, rel=1e-6)
    assert legacy.second_opinion(request, 503) is None
    assert legacy.second_opinion(legacy.request(JPEG, 10, 20, 0.5), 500) is None
    assert SERVICES["sdss"].second_opinion(SERVICES["sdss"].request(SDSS, 10, 20, 0.5), 500) is None
