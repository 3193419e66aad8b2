"""Ingest from folders of FITS tiles: every galaxy cut from its best tile, or said why not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from hypothesis import given
from hypothesis import strategies as st

from gzflow.catalog.store import CatalogStore
from gzflow.cutouts.archives import ImagePlace, read_image
from gzflow.cutouts.check import check_image
from gzflow.cutouts.rgb import RECIPES, resized
from gzflow.errors import SettingsError
from gzflow.settings import Settings
from gzflow.simulation.tiles import tile_pixels, tile_wcs, write_tile
from gzflow.stages import ingest, shard
from gzflow.stages import mosaics as stage
from gzflow.stages.counts import total

SIDE, SCALE, PIXELS, PIXSCALE = 400, 0.5, 32, 0.6
CENTRES = {"a": (10.0, 0.0), "b": (10.05, 0.0)}
"""Two tiles of 200 arcsec, 180 arcsec apart: 20 arcsec of overlap."""

TOML = """
[survey]
name = "tiles"
[catalog]
id = "id"
ra = "ra"
dec = "dec"
[catalog.votes]
count = "{question}_{answer}"
[mosaic]
bands = { g = "coadd/{tile}/{tile}-g.fits", r = "coadd/{tile}/{tile}-r.fits", z = "coadd/{tile}/{tile}-z.fits" }
pixels = 32
pixscale = 0.6
[image]
recipe = "gzdecals"
[[question]]
name = "ring"
answers = ["yes", "no"]
"""


class Sky:
    """Tiles, catalog and TOML in a folder."""

    def __init__(self, folder: Path, n: int = 40) -> None:
        self.folder = folder
        rng = np.random.default_rng(3)
        self.ids = [f"g/{i:03d}" for i in range(n)]
        # None in the 14 arcsec around the edge of tile a, where a galaxy is on it but its cutout is not.
        self.ra = np.where(np.arange(n) % 2, rng.uniform(9.975, 10.0255, n), rng.uniform(10.0295, 10.075, n))
        self.dec = rng.uniform(-0.024, 0.024, n)
        self.toml = folder / "tiles.toml"
        self.toml.write_text(TOML)
        self.write_catalog()
        for k, (name, (ra, dec)) in enumerate(CENTRES.items()):
            wcs = tile_wcs(ra, dec, SIDE, SCALE)
            for j, band in enumerate("grz"):
                pixels = tile_pixels(wcs, SIDE, self.ra, self.dec, seed=10 * k + j)
                write_tile(self.file(name, band), pixels, wcs)

    def write_catalog(self) -> None:
        votes = {"ring_yes": [1] * len(self.ids), "ring_no": [2] * len(self.ids)}
        table = pl.DataFrame({"id": self.ids, "ra": self.ra, "dec": self.dec} | votes)
        table.write_csv(self.folder / "catalog.csv")

    def file(self, tile: str, band: str) -> Path:
        return self.folder / "tiles" / "coadd" / tile / f"{tile}-{band}.fits"

    @property
    def source(self) -> ingest.IngestSource:
        return ingest.IngestSource(
            str(self.toml), str(self.folder / "catalog.csv"), images=(str(self.folder / "tiles"),)
        )

    def expected(self, row: int, tile: str) -> np.ndarray:
        """The picture by astropy and the recipe."""
        images = [fits.getdata(self.file(tile, band)) for band in "grz"]
        x, y = tile_wcs(*CENTRES[tile], SIDE, SCALE).all_world2pix(self.ra[row], self.dec[row], 0)
        side = int(np.ceil(PIXELS * PIXSCALE / SCALE))
        square = [Cutout2D(image, (x, y), side, mode="partial", fill_value=np.nan).data for image in images]
        return resized(RECIPES["gzdecals"](np.array(square, np.float32)), PIXELS)


@pytest.fixture
def sky(tmp_path: Path) -> Sky:
    return Sky(tmp_path)


def ledger(settings: Settings) -> dict[str, dict]:
    with CatalogStore(settings.catalog_url) as store:
        return {row["id_str"]: row for row in store.cutouts("tiles").to_dicts()}


def picture(row: dict) -> np.ndarray:
    return check_image(read_image(ImagePlace(row["path"], row["member"])), size=(PIXELS, PIXELS), what="").pixels


def test_every_picture_is_astropys_cutout_of_the_tile_where_it_lies_deepest(sky, run_ingest, settings):
    summary = run_ingest(sky.source)
    assert summary.counts.n_in == summary.counts.done == 40
    rows = ledger(settings)
    for at, id_str in enumerate(sky.ids):
        tile = "a" if sky.ra[at] < 10.025 else "b"
        assert rows[id_str]["source"] == f"tile({tile})"
        np.testing.assert_array_equal(picture(rows[id_str]), sky.expected(at, tile))


def test_a_second_run_cuts_nothing_and_new_tiles_serve_who_had_none(sky, run_ingest, settings):
    hidden = sky.folder / "later"
    sky.file("b", "g").parent.rename(hidden)
    first = run_ingest(sky.source)
    east = int((sky.ra > 10.0 + 100 / 3600).sum())
    assert (first.counts.done, first.counts.failed, first.reasons) == (40 - east, east, {"no-coverage": east})
    before = ledger(settings)
    hidden.rename(sky.file("b", "g").parent)
    second = run_ingest(sky.source)
    assert second.counts.done == 40
    after = ledger(settings)
    assert all(after[key] == row for key, row in before.items() if row["state"] == "done"), "a done picture was redone"
    assert ingest.plan(sky.source, settings).chunks == ()


def test_an_absent_band_and_unobserved_pixels_fail_and_a_complete_tile_is_preferred(sky, run_ingest, settings):
    sky.file("b", "r").unlink()
    # In both tiles, and deeper in b: its missing band sends it to a.
    sky.ra[0], sky.dec[0] = 10.0255, 0.0
    # On a hole of one band, and on one of all bands.
    sky.ra[1:3], sky.dec[1:3] = [9.99, 9.995], [0.01, -0.015]
    sky.write_catalog()
    for band in "grz":
        with fits.open(sky.file("a", band), mode="update") as units:
            for row, bands in ((1, "g"), (2, "grz")):
                x, y = tile_wcs(*CENTRES["a"], SIDE, SCALE).all_world2pix(sky.ra[row], sky.dec[row], 0)
                if band in bands:
                    units[0].data[int(y) - 20 : int(y) + 21, int(x) - 20 : int(x) + 21] = np.nan
    run_ingest(sky.source)
    rows = ledger(settings)
    assert rows[sky.ids[0]]["source"] == "tile(a)"
    assert (rows[sky.ids[1]]["reason"], rows[sky.ids[1]]["state"]) == ("bad-pixels", "failed")
    assert "g 100.0%" in rows[sky.ids[1]]["detail"]
    assert rows[sky.ids[2]]["state"] == "no-coverage"
    east = rows[sky.ids[int(np.argmax(sky.ra))]]
    assert east["reason"] == "bad-pixels"
    assert "r 100.0%" in east["detail"]


def test_tiles_that_break_while_they_are_read_fail_their_galaxies_alone(sky, settings):
    ingest.read(sky.source, settings)
    plan = ingest.plan(sky.source, settings)
    content = sky.file("b", "z").read_bytes()
    sky.file("b", "z").write_bytes(content[: len(content) // 2])
    for chunk in plan.chunks:
        ingest.run_chunk(chunk, settings)
    rows = ledger(settings)
    west = int((sky.ra < 10.025).sum())
    assert [row["state"] for row in rows.values()].count("done") == west
    assert {row["reason"] for row in rows.values() if row["state"] != "done"} == {"truncated"}


def test_all_that_is_wrong_with_tiles_is_said_before_anything_is_cut(sky, settings):
    ingest.read(sky.source, settings)
    content = sky.file("a", "g").read_bytes()
    sky.file("a", "g").write_bytes(content[: len(content) // 2])
    fits.writeto(sky.file("b", "z"), np.zeros((5, 5), np.float32), overwrite=True)
    with pytest.raises(SettingsError) as caught:
        ingest.plan(sky.source, settings)
    assert len(caught.value.problems) == 2
    assert "a-g.fits: ends early" in caught.value.problems[0]
    assert "b-z.fits" in caught.value.problems[1]
    assert "no celestial WCS" in caught.value.problems[1]


def test_wrong_folders_patterns_and_recipes_are_refused_at_once(sky):
    sky.toml.write_text(TOML.replace("{tile}-z.fits", "{tile}-Z.fits").replace('"gzdecals"', '"as-delivered"'))
    with pytest.raises(SettingsError) as caught:
        ingest.check(sky.source)
    text = str(caught.value)
    assert "makes no picture of tiles" in text
    assert "band z: no file below" in text


def test_chunks_keep_tiles_together(sky, settings, monkeypatch):
    monkeypatch.setattr(stage, "CHUNK", 12)
    ingest.read(sky.source, settings)
    chunks = ingest.plan(sky.source, settings).chunks
    assert sorted(i for chunk in chunks for i in chunk.ids) == sky.ids
    west = {i for i, ra in zip(sky.ids, sky.ra, strict=True) if ra < 10.025}
    assert all(len(chunk.ids) <= 12 for chunk in chunks)
    assert all(set(chunk.ids) <= west or not set(chunk.ids) & west for chunk in chunks)


def test_galaxies_without_position_are_failures(sky, run_ingest, settings):
    sky.ra[5] = np.nan
    sky.write_catalog()
    summary = run_ingest(sky.source)
    assert summary.counts.done == 39
    assert summary.counts.failed == 1


def test_shards_take_the_pictures_out_of_their_zip(sky, run_ingest, settings):
    run_ingest(sky.source)
    plan = shard.plan(str(sky.toml), settings, pixels=PIXELS)
    counts = total(shard.run_chunk(chunk, settings) for chunk in plan.chunks)
    assert shard.finish(plan, counts).counts.done == 40


@pytest.mark.slow
def test_kill_9_in_the_middle_then_again(tmp_path, run_ingest, settings):
    sky = Sky(tmp_path, n=600)
    script = (
        "from gzflow.settings import Settings; from gzflow.stages import ingest, mosaics\n"
        "mosaics.CHUNK = 25\n"
        f"s = Settings.load({{}}, home={str(settings.home)!r})\n"
        f"source = ingest.IngestSource({str(sky.toml)!r}, {sky.source.catalog!r}, images={sky.source.images!r})\n"
        "ingest.read(source, s)\n"
        "for chunk in ingest.plan(source, s).chunks: ingest.run_chunk(chunk, s)"
    )
    pictures = settings.cutouts("tiles") / "mosaics"
    for enough in (3, 9, 15):
        child = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
        deadline = time.monotonic() + 200
        while len(list(pictures.rglob("*.zip"))) < enough and time.monotonic() < deadline and child.poll() is None:
            time.sleep(0.005)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    summary = run_ingest(sky.source)
    assert summary.counts.n_in == summary.counts.done == 600
    rows = ledger(settings)
    assert len({(row["path"], row["member"]) for row in rows.values()}) == 600
    for path in {row["path"] for row in rows.values()}:
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
    for at in range(0, 600, 50):
        assert picture(rows[sky.ids[at]]).shape == (PIXELS, PIXELS, 3)


@given(
    sizes=st.lists(st.integers(1, 40), max_size=30),
    most=st.integers(1, 50),
)
def test_chunks_end_where_tiles_do_unless_a_tile_is_too_large(sizes, most):
    ends = np.cumsum(sizes).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "CHUNK", most)
        cuts = list(stage._cuts(ends[:-1], ends[-1] if ends else 0))
    starts = [0, *cuts[:-1]]
    assert all(0 < end - start <= most for start, end in zip(starts, cuts, strict=False))
    assert (cuts[-1] if cuts else 0) == (ends[-1] if ends else 0)
    for begin, end in zip([0, *ends], ends, strict=False):
        inside = sum(begin < cut < end for cut in cuts)
        assert inside <= (end - begin - 1) // most, "a tile is cut more often than its size asks for"
