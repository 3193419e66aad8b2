from __future__ import annotations

import hashlib
import time
from email.utils import parsedate_to_datetime
from io import BytesIO

import httpx
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from gzflow.cutouts.services import SERVICES, Reply
from gzflow.errors import NoCoverage
from gzflow.recipe import CutoutSpec
from gzflow.simulation.faults import Fault
from gzflow.simulation.galaxies import draw_galaxies
from gzflow.simulation.services import LoopbackServices
from gzflow.simulation.sky import SimulatedSky
from gzflow.simulation.telescopes import TELESCOPES
from tests.ports import free_port

DECALS = TELESCOPES["decals"]
FILES = {"gz_decals_volunteers_5.csv": b"iauname,ra\n" * 100, "part 1.zip": bytes(range(256)) * 40}


@pytest.fixture(scope="module")
def galaxies():
    return draw_galaxies(30, 21, redshifts=DECALS.redshifts, footprint=DECALS.footprint)


@pytest.fixture(scope="module")
def services(galaxies):
    with LoopbackServices(SimulatedSky(galaxies), records={4573248: FILES}, seed=3) as running:
        yield running


@pytest.fixture
def get(services):
    services.faults = ()
    with httpx.Client(base_url=services.url, timeout=60) as client:
        yield lambda path, headers=None, **params: client.get(path, params=params or None, headers=headers)


def decoded(reply):
    image = Image.open(BytesIO(reply.content))
    image.load()
    return np.asarray(image)


def place(galaxies, i=0):
    return {"ra": galaxies["ra"][i], "dec": galaxies["dec"][i]}


# ------------------------------------------------------------------ Legacy Surveys


@pytest.mark.parametrize("path", ["/viewer/jpeg-cutout", "/viewer/cutout.jpg"])
def test_legacy_jpeg(get, galaxies, path):
    reply = get(path, **place(galaxies), layer="ls-dr9", pixscale=0.8, size=64)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "image/jpeg"
    picture = decoded(reply)
    assert picture.shape == (64, 64, 3)
    assert picture[28:36, 28:36].mean() > picture[:8].mean() + 15
    assert reply.content == get(path, **place(galaxies), layer="ls-dr9", pixscale=0.8, size=64).content


def test_legacy_defaults_and_zoom(get, galaxies):
    assert decoded(get("/viewer/jpeg-cutout", **place(galaxies))).shape == (256, 256, 3)
    assert decoded(get("/viewer/jpeg-cutout", **place(galaxies), width=80, height=48)).shape == (48, 80, 3)
    near, far = (decoded(get("/viewer/jpeg-cutout", **place(galaxies), zoom=zoom, size=64)).mean() for zoom in (15, 11))
    assert near > far


@pytest.mark.parametrize("bands", ["grz", "gz", "r"])
def test_legacy_fits(get, galaxies, bands):
    reply = get("/viewer/fits-cutout", **place(galaxies), size=100, pixscale=0.262, bands=bands)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "image/fits"
    assert len(reply.content) % 2880 == 0
    with fits.open(BytesIO(reply.content)) as file:
        data, header = file[0].data, file[0].header
        assert data.shape == ((100, 100) if len(bands) == 1 else (len(bands), 100, 100))
        assert data.dtype == ">f4"
        assert header["BANDS"] == bands
        assert header["BAND0"] == bands[0]
        ra, dec = WCS(header, naxis=2).wcs_pix2world([[50.5, 50.5]], 1)[0]
    assert (ra, dec) == pytest.approx(tuple(place(galaxies).values()), abs=1e-6)


def test_north_is_up_in_jpeg_and_in_fits(get, galaxies):
    moved = {**place(galaxies), "dec": galaxies["dec"][0] - 8 / 3600, "size": 80, "pixscale": 0.4}
    picture = decoded(get("/viewer/jpeg-cutout", **moved)).sum(axis=-1)
    with fits.open(BytesIO(get("/viewer/fits-cutout", **moved).content)) as file:
        data = file[0].data.sum(axis=0)
    assert picture[:40, 30:50].sum() > picture[40:, 30:50].sum()
    assert data[40:, 30:50].sum() > data[:40, 30:50].sum()


def test_legacy_answers_that_are_no_pictures(get, galaxies):
    assert (get("/viewer/jpeg-cutout", ra=10).status_code, get("/viewer/jpeg-cutout", ra=10).text) == (
        400,
        "Need ra,dec keywords",
    )
    assert get("/viewer/fits-cutout", ra="x", dec=1).status_code == 400
    unknown = get("/viewer/jpeg-cutout", **place(galaxies), layer="ls-dr99")
    assert (unknown.status_code, unknown.text) == (200, "no such layer")
    assert get("/elsewhere").status_code == 404


@pytest.mark.parametrize(("layer", "grey"), [("ls-dr9", 32), ("sdss", 22)])
def test_outside_legacy_is_grey_or_500(get, layer, grey):
    reply = get("/viewer/jpeg-cutout", ra=200.0, dec=-80.0, layer=layer, size=64)
    assert reply.status_code == 200
    assert (decoded(reply) == grey).all()
    assert get("/viewer/fits-cutout", ra=200.0, dec=-80.0, layer=layer, size=64).status_code == 500


def test_sizes_above_3000_are_clamped_silently(get):
    assert decoded(get("/viewer/jpeg-cutout", ra=200.0, dec=-80.0, size=4000)).shape == (3000, 3000, 3)


def test_holes_and_gaps(galaxies):
    with LoopbackServices(SimulatedSky(galaxies, holes=0.5, gaps=1.0)) as services, httpx.Client() as client:
        blank = striped = 0
        for i in range(12):
            url, params = f"{services.url}/viewer/fits-cutout", {**place(galaxies, i), "size": 60, "pixscale": 0.5}
            reply = client.get(url, params=params)
            blank += reply.status_code == 500
            if reply.status_code == 200:
                with fits.open(BytesIO(reply.content)) as file:
                    striped += (file[0].data == 0).mean() > 0.2
    assert 0 < blank < 12
    assert blank + striped == 12


# ------------------------------------------------------------------ SkyServer


@pytest.mark.parametrize(
    "path",
    [
        "/dr18/SkyServerWS/ImgCutout/getjpeg",
        "/dr12/SkyserverWS/ImgCutout/getjpeg",
        "/DR7/ImgCutout/getjpeg.aspx",
        "/ImgCutoutDR7/getjpeg.aspx",
    ],
)
def test_skyserver_in_every_spelling(get, path):
    reply = get(path, ra=180.0, dec=20.0, scale=0.4, width=128, height=100, opt="")
    assert reply.status_code == 200
    assert decoded(reply).shape == (100, 128, 3)


def test_drawing_letters_spoil_the_picture(get):
    clean, drawn = (
        decoded(get("/dr18/SkyServerWS/ImgCutout/getjpeg", ra=180.0, dec=20.0, width=64, height=64, opt=opt))
        for opt in ("", "GL")
    )
    assert drawn[:, 32, 1].mean() > clean[:, 32, 1].mean() + 80


@pytest.mark.parametrize("width", [63, 2049])
def test_skyserver_limits(get, width):
    assert get("/dr18/SkyServerWS/ImgCutout/getjpeg", ra=180, dec=20, width=width, height=64).status_code == 400


def test_outside_sdss_three_ways(galaxies):
    outside = {"ra": 10.0, "dec": -60.0, "width": 424, "height": 424}
    path = "/dr18/SkyServerWS/ImgCutout/getjpeg"
    with LoopbackServices(SimulatedSky(galaxies), outside="tile") as services:
        tile = httpx.get(services.url + path, params=outside)
    assert tile.status_code == 200
    assert 0.85 < (decoded(tile).max(axis=-1) == 0).mean() < 1
    with LoopbackServices(SimulatedSky(galaxies), outside="not-found") as services:
        missing = httpx.get(services.url + path, params=outside)
    assert missing.status_code == 404
    assert missing.reason_phrase == "NOT FOUND. Requested (ra, dec) is outside the SDSS footprint."
    with LoopbackServices(SimulatedSky(galaxies), outside="text") as services:
        text = httpx.get(services.url + path, params=outside)
    assert text.status_code == 400
    assert "outside the SDSS footprint" in text.text


# ------------------------------------------------------------------ the library's own clients


CLIENTS = {
    "sdss": ({}, 0.5, (180.0, 20.0)),
    "legacysurvey": ({}, 0.5, (180.0, 20.0)),
    "zcut": ({"bands": "F606W,F850LP"}, 0.03, (53.1, -27.8)),
    "hapcut": ({"bands": "F814W,F125W,F160W"}, 0.06, (150.1, 2.3)),
    "hla": ({"bands": "F606W,F775W,F850LP", "native_pixscale": 0.03}, 0.03, (53.1, -27.8)),
    "hips2fits": ({"hips": "CDS/P/SDSS9/color"}, 0.5, (180.0, 20.0)),
    "panstarrs": ({"format": "png"}, 0.25, (180.0, 20.0)),
}


@pytest.mark.parametrize("service", SERVICES)
def test_the_librarys_clients_understand_the_simulation(services, galaxies, service):
    services.faults = ()
    options, scale, inside = CLIENTS[service]
    client = SERVICES[service]
    spec = CutoutSpec(service=service, url=services.url, options=options, pixels=64, pixscale=scale)
    assert client.problems(spec) == []

    def sent(request):
        reply = httpx.get(request.url, params=dict(request.params))
        return Reply(reply.status_code, reply.content, dict(reply.headers), reply.reason_phrase)

    def image(ra, dec):
        request = client.request(spec, ra, dec, scale)
        if (lookup := client.preparation(spec, ra, dec, scale)) is not None:
            request = client.prepared(spec, ra, dec, scale, sent(lookup))
        return client.interpret(request, sent(request))

    bands = options.get("bands", "").count(",") + 1
    fits_wanted = client.request(spec, *inside, scale).format == "fits"
    assert image(*inside).shape == ((bands, 64, 64) if fits_wanted else (64, 64, 3))
    with pytest.raises(NoCoverage):
        image(180.0, -70.0)


# ------------------------------------------------------------------ Zenodo


def test_a_record_lists_files_that_can_be_fetched_and_verified(get):
    record = get("/api/records/4573248").json()
    assert {file["key"]: file["size"] for file in record["files"]} == {name: len(body) for name, body in FILES.items()}
    for file in record["files"]:
        content = httpx.get(file["links"]["self"]).content
        assert content == FILES[file["key"]]
        assert file["checksum"] == f"md5:{hashlib.md5(content).hexdigest()}"
    assert get("/records/4573248/files/part%201.zip", download=1).content == FILES["part 1.zip"]


def test_what_zenodo_does_not_have(get):
    assert get("/api/records/1").status_code == 404
    assert get("/api/records/4573248/files/nothing.csv/content").status_code == 404


def test_ranges(get):
    url, content = "/api/records/4573248/files/part%201.zip/content", FILES["part 1.zip"]
    part = get(url, headers={"Range": "bytes=1000-"})
    assert part.status_code == 206
    assert part.content == content[1000:]
    assert part.headers["content-range"] == f"bytes 1000-{len(content) - 1}/{len(content)}"
    assert get(url, headers={"Range": "bytes=10-19"}).content == content[10:20]
    beyond = get(url, headers={"Range": f"bytes={len(content)}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{len(content)}"
    changed = get(url, headers={"Range": "bytes=1000-", "If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, content)
    same = get(url, headers={"Range": "bytes=1000-", "If-Range": part.headers["etag"]})
    assert same.status_code == 206


def test_a_server_that_ignores_ranges():
    with LoopbackServices(records={1: {"a": b"0123456789"}}, ranges="ignore") as services:
        reply = httpx.get(f"{services.url}/api/records/1/files/a/content", headers={"Range": "bytes=5-"})
    assert (reply.status_code, reply.content) == (200, b"0123456789")


# ------------------------------------------------------------------ faults


def test_statuses_and_retry_after(services, get):
    services.faults = (Fault("rate-limited", retry_after=7),)
    reply = get("/api/records/4573248")
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "7")
    services.faults = (Fault("unavailable", retry_after=60, as_date=True),)
    asked = time.time()
    reply = get("/api/records/4573248")
    assert reply.status_code == 503
    date = parsedate_to_datetime(reply.headers["retry-after"]).timestamp()
    assert asked + 58 < date < time.time() + 62
    services.faults = (Fault("error"),)
    reply = get("/api/records/4573248")
    assert reply.status_code == 500
    assert "retry-after" not in reply.headers


def test_html_with_200(services, get):
    services.faults = (Fault("html"),)
    reply = get("/viewer/jpeg-cutout", ra=180.0, dec=20.0)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/html")
    assert b"<html>" in reply.content


def test_truncated_reset_and_drip(services, get):
    services.faults = (Fault("truncated"),)
    with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete message|without sending complete"):
        get("/api/records/4573248")
    services.faults = (Fault("reset"),)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        get("/api/records/4573248")
    services.faults = (Fault("drip", seconds=0.6),)
    start = time.monotonic()
    assert get("/api/records/4573248").status_code == 200
    assert time.monotonic() - start > 0.5


def test_faults_strike_the_first_attempts_of_matching_paths_only(galaxies):
    fault = Fault("error", attempts=2, path="records")
    with LoopbackServices(records={1: {}, 2: {}}, faults=(fault,)) as services:
        seen = [httpx.get(f"{services.url}/api/records/{record}").status_code for record in (1, 1, 1, 2, 2, 2)]
        assert seen == [500, 500, 200] * 2
        assert httpx.get(f"{services.url}/elsewhere").status_code == 404
        assert services.count("records/1") == 3
        assert services.count(fault="error") == 4
        assert [one.attempt for one in services.served] == [1, 2, 3, 1, 2, 3, 1]


def test_the_same_requests_fail_every_time():
    faults = (Fault("unavailable", share=0.3), Fault("rate-limited", share=0.3))

    def statuses(seed):
        with LoopbackServices(records={1: {}}, faults=faults, seed=seed) as services, httpx.Client() as client:
            return [client.get(f"{services.url}/api/records/1", params={"n": n}).status_code for n in range(80)]

    first = statuses(1)
    assert first == statuses(1) != statuses(2)
    assert 10 < first.count(503) < 40
    assert 5 < first.count(429) < 35


def test_many_clients_at_once(services, galaxies):
    from concurrent.futures import ThreadPoolExecutor

    services.faults = ()
    before = services.count()

    def one(i):
        params = {**place(galaxies, i % 30), "size": 64, "pixscale": 0.8}
        return httpx.get(f"{services.url}/viewer/jpeg-cutout", params=params).content

    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(one, range(60)))
    assert bodies[:30] == bodies[30:]
    assert services.count() - before == 60


def test_a_fixed_port_and_a_server_that_is_not_running():
    port = free_port()
    services = LoopbackServices(port=port)
    with pytest.raises(RuntimeError, match="with"):
        _ = services.url
    with services:
        assert services.url == f"http://127.0.0.1:{port}"
