from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from astropy.io.votable import writeto
from astropy.table import Table
from PIL import Image

from gzflow.cutouts.services import SERVICES, Reply, problems
from gzflow.errors import (
    BadPixels,
    NoCoverage,
    NotAnImage,
    PermanentCutoutError,
    RateLimited,
    TruncatedImage,
    WrongSize,
)
from gzflow.recipe import CutoutSpec

PS1 = CutoutSpec(service="panstarrs", pixels=64, pixscale=0.25)
HLA = CutoutSpec(
    service="hla", pixels=64, pixscale=0.03, options={"bands": "F435W,F606W,F850LP", "native_pixscale": 0.05}
)
TABLE = """projcell subcell ra dec filter mjd type filename shortname badflag
1000 001 10 20 g 0 stack /a/g.fits cutout_g.fits 0
1000 001 10 20 r 0 stack /a/r.fits cutout_r.fits 0
1000 002 10 20 r 0 stack /b/r.fits cutout_r.fits 0
1000 001 10 20 i 0 stack /a/i.fits cutout_i.fits 0
"""


def votable(*rows: tuple[str, str]) -> bytes:
    stream = BytesIO()
    names, filters = zip(*rows, strict=True) if rows else ((), ())
    writeto(Table({"Dataset": np.array(names, "U30"), "Spectral_Elt": np.array(filters, "U20")}), stream)
    return stream.getvalue()


def prepared(spec: CutoutSpec, content: bytes, status: int = 200):
    return SERVICES[spec.service].prepared(spec, 10.0, 20.0, float(spec.pixscale), Reply(status, content))


def picture(pixels: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def test_panstarrs_is_asked_for_files_and_then_for_a_picture_of_them() -> None:
    service = SERVICES["panstarrs"]
    lookup = service.preparation(PS1, 10, 20, 0.25)
    assert lookup.url == "https://ps1images.stsci.edu/cgi-bin/ps1filenames.py"
    assert dict(lookup.params) == {"ra": "10.00000000", "dec": "20.00000000", "filters": "gri", "type": "stack"}
    request = prepared(PS1, TABLE.encode())
    assert request.url == "https://ps1images.stsci.edu/cgi-bin/fitscut.cgi"
    assert dict(request.params) == {
        "ra": "10.00000000",
        "dec": "20.00000000",
        "size": "64",
        "output_size": "64",
        "format": "jpg",
        "blue": "/a/g.fits",
        "green": "/a/r.fits",
        "red": "/a/i.fits",
    }
    assert (request.width, request.height, request.format) == (64, 64, "jpeg")
    assert service.request(PS1, 10, 20, 0.25).params["filters"] == "g,r,i"
    grey = PS1.model_copy(update={"options": {"bands": "i", "format": "png", "autoscale": 99.5}, "url": "http://h/"})
    request = prepared(grey, TABLE.encode())
    assert request.url == "http://h/cgi-bin/fitscut.cgi"
    assert {"red": "/a/i.fits", "format": "png", "autoscale": "99.5"}.items() <= request.params.items()
    assert "blue" not in request.params
    assert request.suffix == ".png"


def test_hubble_archive_is_asked_for_data_sets_and_then_for_a_picture_of_them() -> None:
    lookup = SERVICES["hla"].preparation(HLA, 10, 20, 0.03)
    assert lookup.url == "https://hla.stsci.edu/cgi-bin/hlaSIAP.cgi"
    assert dict(lookup.params) == {
        "POS": "10.00000000,20.00000000",
        "SIZE": "0.001",
        "imagetype": "best",
        "inst": "ACS",
        "Spectral_Elt": "f435w,f606w,f850lp",
        "proprietary": "false",
    }
    rows = [
        ("colour", "F850LP/F606W/F435W"),
        ("z", "F850LP;CLEAR1L"),
        ("v", "F606W"),
        ("v2", "F606W"),
        ("b", " F435W"),
        ("", "F435W"),
    ]
    request = prepared(HLA, votable(*rows))
    assert dict(request.params) == {
        "RA": "10.00000000",
        "Dec": "20.00000000",
        "size": "39",  # 64 x 0.03 / 0.05, rounded up
        "output_size": "64",
        "format": "jpg",
        "blue": "b",
        "green": "v",
        "red": "z",
    }


@pytest.mark.parametrize(
    ("spec", "content"),
    [
        (PS1, b"projcell subcell ra dec filter mjd type filename shortname badflag\n"),
        (PS1, TABLE.encode().replace(b" i 0", b" y 0")),
        (HLA, votable()),
        (HLA, votable(("b", "F435W"), ("v", "F606W"))),
    ],
)
def test_places_without_files_are_no_coverage(spec: CutoutSpec, content: bytes) -> None:
    with pytest.raises(NoCoverage, match=r"no image of this place in .*(i|F850LP)"):
        prepared(spec, content)


@pytest.mark.parametrize("spec", [PS1, HLA])
def test_look_ups_that_went_wrong(spec: CutoutSpec) -> None:
    with pytest.raises(NotAnImage, match="HTML"):
        prepared(spec, b"<html>maintenance</html>")
    with pytest.raises(NotAnImage):
        prepared(spec, b"")
    with pytest.raises(RateLimited):
        prepared(spec, b"", 429)
    with pytest.raises(PermanentCutoutError, match="ra is None"):
        SERVICES[spec.service].preparation(spec, None, 2, 0.1)


def test_tables_that_end_early() -> None:
    with pytest.raises(TruncatedImage):
        prepared(PS1, TABLE.encode()[:-30])
    with pytest.raises(NotAnImage, match="VOTable"):
        prepared(HLA, votable(("a", "F606W"))[:-200])


@pytest.mark.parametrize(
    ("spec", "recipe_name", "words"),
    [
        (PS1, "gzdecals", ["needs FITS"]),
        (PS1.model_copy(update={"options": {"bands": "gx"}}), None, ["2 filters", "observed in"]),
        (
            PS1.model_copy(update={"options": {"format": "fits", "layer": "a"}}),
            None,
            ["no option 'layer'", "jpeg or png"],
        ),
        (PS1.model_copy(update={"pixels": 3000, "pixscale": 0.6}), None, ["7,200 of the archive's own"]),
        (HLA.model_copy(update={"options": {}}), None, ["0 filters", "native_pixscale: missing"]),
    ],
)
def test_what_fitscut_would_refuse_is_found_before_sending(spec: CutoutSpec, recipe_name: str | None, words) -> None:
    found = problems(spec, recipe_name)
    assert len(found) == len(words)
    assert all(word in " ".join(found) for word in words)
    assert problems(PS1, "as-delivered") == problems(HLA, "as-delivered") == []


def test_a_field_that_would_be_clamped_is_never_asked_for() -> None:
    spec = PS1.model_copy(update={"pixels": 3000, "pixscale": "size"})
    assert problems(spec, "as-delivered") == []
    with pytest.raises(PermanentCutoutError, match="cuts at most 6,000"):
        SERVICES["panstarrs"].request(spec, 10, 20, 0.51)
    assert SERVICES["panstarrs"].request(spec, 10, 20, 0.5).params["size"] == "6000"


def test_pictures_are_checked() -> None:
    service, request = SERVICES["panstarrs"], prepared(PS1, TABLE.encode())
    sky = np.random.default_rng(1).normal(60, 20, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    assert service.interpret(request, Reply(200, picture(sky))).shape == (64, 64, 3)
    with pytest.raises(NoCoverage):
        service.interpret(request, Reply(200, picture(np.zeros((64, 64, 3), np.uint8))))
    with pytest.raises(WrongSize):
        service.interpret(request, Reply(200, picture(sky[:60])))
    sky[:50] = 0
    with pytest.raises(BadPixels, match=r"[567]\d% of the picture is black"):
        service.interpret(request, Reply(200, picture(sky)))
