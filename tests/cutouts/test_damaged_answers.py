"""Whatever comes back, a galaxy ends with one of our errors or with pixels."""

from __future__ import annotations

import contextlib
import json
import zipfile
from io import BytesIO

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import writeto
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from gzflow.cutouts.services import SERVICES, Reply
from gzflow.errors import CutoutError
from gzflow.recipe import CutoutSpec

SPECS = {
    "sdss": {},
    "legacysurvey": {"format": "fits"},
    "zcut": {"bands": "F606W,F850LP"},
    "hapcut": {"bands": "F606W,F850LP"},
    "hla": {"bands": "F606W", "native_pixscale": 0.05},
    "hips2fits": {"hips": "CDS/P/SDSS9/color"},
    "panstarrs": {"bands": "r"},
}


def cutout(band: str) -> bytes:
    header = fits.Header({"FILTER": band, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    header.update({"CRVAL1": 53.1, "CRVAL2": -27.8, "CRPIX1": 16.0, "CRPIX2": 16.0})
    header.update({"CD1_1": -0.06 / 3600, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.06 / 3600})
    pixels = np.random.default_rng(1).normal(1, 0.1, (32, 32)).astype(np.float32)
    stream = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pixels, header)]).writeto(stream)
    return stream.getvalue()


def packed() -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for band in ("F606W", "F850LP"):
            archive.writestr(f"{band}.fits", cutout(band))
    return stream.getvalue()


def votable() -> bytes:
    stream = BytesIO()
    writeto(Table({"Dataset": ["a", "b"], "Spectral_Elt": ["F606W", "F850LP"]}), stream)
    return stream.getvalue()


BODIES = {
    "zcut": packed(),
    "hapcut": json.dumps({"msg": "nothing", "results": []}).encode(),
    "legacysurvey": cutout("r"),
    "hla": votable(),
    "panstarrs": b"projcell filter filename\n1 r /a/r.fits\n",
}


@pytest.mark.parametrize("name", SERVICES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_answers_raise_only_our_errors(name: str, data: st.DataObject) -> None:
    service, spec = SERVICES[name], CutoutSpec(service=name, pixels=32, pixscale=0.06, options=SPECS[name])
    content = bytearray(BODIES.get(name, b"\xff\xd8\xff\xe0" + bytes(300)))
    changes = data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=6))
    for at, value in changes:
        content[at] = value
    end = data.draw(st.sampled_from([len(content), len(content) // 2, 7, 0]))
    reply = Reply(data.draw(st.sampled_from([200, 200, 200, 404, 503])), bytes(content[:end]))
    place = (53.1, -27.8, 0.06)
    with contextlib.suppress(CutoutError):
        service.interpret(service.request(spec, *place), reply)
    with contextlib.suppress(CutoutError):
        assert service.prepared(spec, *place, reply).url.startswith("http")
