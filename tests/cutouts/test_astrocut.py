from __future__ import annotations

import json
import struct
import zipfile
from io import BytesIO

import numpy as np
import pytest
from astropy.io import fits

from gzflow.cutouts.services import SERVICES, Reply, problems, zipped
from gzflow.errors import BadPixels, NoCoverage, NotAnImage, PermanentCutoutError, TruncatedImage, WrongSize
from gzflow.recipe import CutoutSpec

SPEC = CutoutSpec(service="zcut", pixels=64, pixscale=0.06, options={"bands": "F606W,F850LP"})


def cutout(
    side: int, scale: float, *, band: str | None = None, seed: int = 1, extension: bool = True, bad: float = 0
) -> bytes:
    pixels = np.random.default_rng(seed).normal(0.02, 0.01, (side, side)).astype(np.float32)
    pixels[: int(bad * side)] = 0
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = 53.1, -27.8
    header["CRPIX1"] = header["CRPIX2"] = side / 2
    header["CD1_1"], header["CD2_2"] = -scale / 3600, scale / 3600
    if band:
        header["FILTER"] = band
    stream = BytesIO()
    units = [fits.PrimaryHDU(), fits.ImageHDU(pixels, header)] if extension else [fits.PrimaryHDU(pixels, header)]
    fits.HDUList(units).writeto(stream)
    return stream.getvalue()


def packed(files: dict[str, bytes]) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def interpreted(content: bytes, spec: CutoutSpec = SPEC) -> np.ndarray:
    service = SERVICES[spec.service]
    return service.interpret(service.request(spec, 53.1, -27.8, float(spec.pixscale)), Reply(200, content))


GOOD = {"hst_acs_f606w_drz.fits": cutout(64, 0.06), "x.fits": cutout(64, 0.06, band="F850LP", seed=2, extension=False)}


@pytest.mark.parametrize(("name", "path"), [("zcut", "zcut"), ("hapcut", "hapcut")])
def test_the_request_is_in_degrees(name: str, path: str) -> None:
    spec = SPEC.model_copy(update={"service": name})
    request = SERVICES[name].request(spec, 53.1, -27.8, 0.06)
    assert request.url == f"https://mast.stsci.edu/{path}/api/v0.1/astrocut"
    assert request.params == {
        "ra": "53.10000000",
        "dec": "-27.80000000",
        "x": "0.0010666667",
        "y": "0.0010666667",
        "units": "d",
    }
    assert request.format == "fits"
    only = SPEC.model_copy(update={"options": {**SPEC.options, "survey": "candels_gn_30mas"}})
    assert SERVICES["zcut"].request(only, 1, 2, 0.06).params["survey"] == "candels_gn_30mas"
    with pytest.raises(PermanentCutoutError):
        SERVICES[name].request(spec, None, 2, 0.06)


def test_bands_are_found_by_header_or_name_and_stand_in_the_asked_order() -> None:
    pixels = interpreted(packed({"readme.txt": b"hello", "other_f435w.fits": cutout(64, 0.06, seed=9), **GOOD}))
    assert pixels.shape == (2, 64, 64)
    np.testing.assert_array_equal(pixels[0], fits.getdata(BytesIO(GOOD["hst_acs_f606w_drz.fits"]), 1))
    np.testing.assert_array_equal(pixels[1], fits.getdata(BytesIO(GOOD["x.fits"])))


def test_of_two_mosaics_the_one_with_more_pixels_is_taken() -> None:
    files = {"a_f606w.fits": cutout(64, 0.06, seed=5, bad=0.1), **GOOD}
    np.testing.assert_array_equal(interpreted(packed(files)), interpreted(packed(GOOD)))


def test_coarser_bands_come_to_the_finest_grid_and_keep_their_flux() -> None:
    pixels = interpreted(packed({**GOOD, "x.fits": cutout(128, 0.03, band="F850LP", seed=2)}))
    assert pixels.shape == (2, 128, 128)
    coarse = fits.getdata(BytesIO(GOOD["hst_acs_f606w_drz.fits"]), 1)
    assert pixels[0].sum() == pytest.approx(coarse.sum(), rel=0.02)


def test_json_with_a_message_is_no_coverage() -> None:
    with pytest.raises(NoCoverage, match="outside all surveys"):
        interpreted(json.dumps({"msg": "outside all surveys", "results": []}).encode())
    with pytest.raises(NotAnImage, match="without a msg"):
        interpreted(b"[1, 2]")
    with pytest.raises(NotAnImage, match="cannot be read"):
        interpreted(b'{"msg": "cut o')
    with pytest.raises(NotAnImage, match="cannot be read"):
        interpreted(b"[" * 100_000)
    with pytest.raises(NoCoverage, match="F850LP"):
        interpreted(packed({"hst_acs_f606w_drz.fits": GOOD["hst_acs_f606w_drz.fits"]}))
    with pytest.raises(NotAnImage, match="HTML"):
        interpreted(b"<html>Bad gateway</html>")


def test_cutouts_that_are_smaller_than_asked_are_refused() -> None:
    with pytest.raises(WrongSize, match=r"5 x 5 pixels of 0\.060 arcsec"):
        interpreted(packed({**GOOD, "x.fits": cutout(5, 0.06, band="F850LP")}))
    assert interpreted(packed({**GOOD, "x.fits": cutout(65, 0.06, band="F850LP")})).shape == (2, 65, 65)


def test_unobserved_pixels_are_judged_for_each_band() -> None:
    with pytest.raises(BadPixels, match=r"F850LP 2\d\.\d%") as caught:
        interpreted(packed({**GOOD, "x.fits": cutout(64, 0.06, band="F850LP", bad=0.25)}))
    assert "F606W" not in str(caught.value.what)


def test_damaged_zips() -> None:
    good = packed(GOOD)
    with pytest.raises(TruncatedImage):
        interpreted(good[: len(good) // 2])
    at = good.index(b"hst_acs_f606w_drz.fits") + 400
    with pytest.raises(TruncatedImage, match="damaged"):
        interpreted(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
    with pytest.raises(TruncatedImage, match="FITS"):
        interpreted(packed({**GOOD, "x.fits": GOOD["x.fits"][:-2880]}))


def test_bombs_are_refused_from_the_directory_and_while_unpacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipped, "MAX_UNPACKED", 1_000_000)
    bomb = packed({"a_f606w.fits": bytes(1_000_001)})
    assert len(bomb) < 3000
    with pytest.raises(WrongSize, match="claims 1 files of 1,000,001 bytes"):
        interpreted(bomb)
    # A directory that lies about the size: unpacking stops there, and the checksum tells.
    lying = bomb.replace(struct.pack("<I", 1_000_001), struct.pack("<I", 10))
    with pytest.raises(TruncatedImage):
        interpreted(lying)
    monkeypatch.setattr(zipped, "MAX_MEMBERS", 3)
    with pytest.raises(WrongSize, match="claims 4 files"):
        interpreted(packed({f"{at}.fits": b"" for at in range(4)}))


def test_what_is_wrong_with_a_spec_is_found_before_sending() -> None:
    assert problems(SPEC, "hubble-vz") == []
    assert problems(SPEC.model_copy(update={"options": {"bands": "f606w, f850lp"}}), "hubble-vz") == []
    assert "goods needs F435W,F606W,F775W,F850LP" in problems(SPEC, "goods")[0]
    assert "needs a recipe" in problems(SPEC, "as-delivered")[0]
    assert "bands: missing" in problems(SPEC.model_copy(update={"options": {}}), "goods")[0]
    hapcut = SPEC.model_copy(update={"service": "hapcut", "options": {**SPEC.options, "survey": "x"}})
    assert "no option 'survey'" in problems(hapcut, "hubble-vz")[0]
