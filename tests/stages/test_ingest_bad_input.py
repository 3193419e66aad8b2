"""What ingest says when its input is wrong: before work begins, and all at once."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from gzflow.catalog.store import CatalogStore
from gzflow.errors import DuplicateIds, EmptyCatalog, MissingColumns, SettingsError, StoreError, UnknownSurvey
from gzflow.settings import Settings
from gzflow.stages import ingest, shard
from gzflow.stages.counts import Counts, total
from tests.survey_files import RINGS

TOML = RINGS.replace('"rings"', '"mine"')


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        cv2.imwrite(str(folder / f"{name}.png"), rng.integers(0, 255, (40, 40, 3), dtype=np.uint8))
    cv2.imwrite(str(folder / "black.png"), np.zeros((40, 40, 3), np.uint8))
    (folder / "page.jpg").write_text("<html><body>please log in</body></html>")
    (folder / "half.png").write_bytes((folder / "a.png").read_bytes()[:400])
    return folder


def source(tmp_path: Path, folder: Path, rows: list[str], header: str = "id_str,file,ring_yes,ring_no", **changes):
    (tmp_path / "mine.toml").write_text(TOML)
    (tmp_path / "mine.csv").write_text("\n".join([header, *rows]) + "\n")
    given = {"survey": str(tmp_path / "mine.toml"), "catalog": str(tmp_path / "mine.csv"), "images": (str(folder),)}
    return ingest.IngestSource(**given | changes)


def run(what: ingest.IngestSource, settings: Settings) -> ingest.IngestSummary:
    ingest.read(what, settings)
    for chunk in ingest.plan(what, settings).chunks:
        ingest.run_chunk(chunk, settings)
    return ingest.finish(what, settings)


def test_each_bad_image_is_a_row_with_its_reason(tmp_path: Path, images: Path, settings: Settings):
    rows = ["1,a.png,1,0", "2,black.png,1,0", "3,page.jpg,0,1", "4,half.png,0,1", "5,nowhere.png,0,1", "6,b.png,0,1"]
    summary = run(source(tmp_path, images, rows), settings)
    assert summary.counts == Counts(n_in=6, done=2, failed=4)
    with CatalogStore(settings.catalog_url) as store:
        found = {row["id_str"]: row for row in store.failures("mine").to_dicts()}
    assert {key: row["reason"] for key, row in found.items()} == {
        "2": "blank",
        "3": "not-an-image",
        "4": "truncated",
        "5": "missing-image",
    }
    assert "please log in" in found["3"]["detail"]
    assert "nowhere.png" in found["5"]["detail"]
    assert len(summary.unclaimed) == 1
    assert (settings.reports("mine") / "failures.csv").read_text().count("\n") >= 5


def test_a_file_that_appears_later_is_found_by_the_next_run(tmp_path: Path, images: Path, settings: Settings):
    what = source(tmp_path, images, ["1,a.png,1,0", "2,late.png,1,0"])
    assert run(what, settings).counts == Counts(n_in=2, done=1, failed=1)
    (images / "late.png").write_bytes((images / "b.png").read_bytes())
    assert run(what, settings).counts == Counts(n_in=2, done=2)
    with CatalogStore(settings.catalog_url) as store:
        assert store.failures("mine").is_empty()


def test_one_galaxy_goes_through(tmp_path: Path, images: Path, settings: Settings):
    what = source(tmp_path, images, ["1,a.png,1,0"])
    assert run(what, settings).counts == Counts(n_in=1, done=1)
    plan = shard.plan(what.survey, settings, pixels=32)
    summary = shard.finish(plan, total(shard.run_chunk(chunk, settings) for chunk in plan.chunks))
    assert sum(summary.splits.values()) == 1


def test_paths_and_joins_are_refused_together(tmp_path: Path, images: Path, settings: Settings):
    what = source(tmp_path, images, ["1,a.png,1,0"], catalog="no.csv", images=("nowhere",), joins={"other": "no2.csv"})
    with pytest.raises(SettingsError) as caught:
        run(what, settings)
    assert len(caught.value.problems) == 4
    assert not settings.home.exists()


def test_files_only_surveys_ask_for_images(settings: Settings, tmp_path: Path, images: Path):
    with pytest.raises(SettingsError, match="no cutout service: give its images with --images"):
        ingest.check(source(tmp_path, images, ["1,a.png,1,0"], images=()))
    with pytest.raises(UnknownSurvey, match="decals"):
        ingest.check(source(tmp_path, images, [], survey="decal"))


@pytest.mark.parametrize(
    ("header", "rows", "error", "words"),
    [
        ("id_str,file,ring_yes", ["1,a.png,1"], MissingColumns, "ring_no"),
        ("id_str,file,ring_yes,ring_no", ["1,a.png,1,0", "1,b.png,0,1"], DuplicateIds, "1"),
        ("id_str,file,ring_yes,ring_no", [], EmptyCatalog, "no rows"),
    ],
    ids=["missing column", "duplicate id", "empty"],
)
def test_bad_tables(header, rows, error, words, tmp_path: Path, images: Path, settings: Settings):
    with pytest.raises(error, match=words):
        run(source(tmp_path, images, rows, header), settings)


def test_shards_need_images(settings: Settings):
    with pytest.raises(StoreError, match="gzflow ingest decals"):
        shard.plan("decals", settings, pixels=64)


def test_an_image_lost_after_ingest_is_a_failure_not_a_crash(tmp_path: Path, images: Path, settings: Settings):
    what = source(tmp_path, images, ["1,a.png,1,0", "2,b.png,1,0", "3,c.png,0,1"])
    run(what, settings)
    (images / "b.png").unlink()
    plan = shard.plan(what.survey, settings, pixels=32)
    counts = total(shard.run_chunk(chunk, settings) for chunk in plan.chunks)
    summary = shard.finish(plan, counts)
    assert counts == Counts(n_in=3, done=2, failed=1)
    assert sum(summary.splits.values()) == 2
    with CatalogStore(settings.catalog_url) as store:
        assert store.failures("mine", "shard")["reason"].to_list() == ["missing-image"]
    again = shard.plan(what.survey, settings, pixels=32)
    assert total(shard.run_chunk(chunk, settings) for chunk in again.chunks).balanced("again").failed == 1


def test_a_filter_added_later_takes_galaxies_out_and_the_sum_still_holds(tmp_path, images, settings, run_ingest):
    what = source(tmp_path, images, ["1,a.png,1,0", "2,b.png,1,0", "3,c.png,0,1"])
    assert run_ingest(what).counts == Counts(n_in=3, done=3)
    toml = tmp_path / "mine.toml"
    toml.write_text(toml.read_text().replace('image = "file"', 'image = "file"\nwhere = "ring_yes = 1"'))
    assert run_ingest(what).counts == Counts(n_in=3, done=2, filtered=1)
    with CatalogStore(settings.catalog_url) as store:
        assert store.galaxies("mine")["id_str"].to_list() == ["1", "2"]
    without_catalog = ingest.IngestSource(survey=what.survey, images=what.images)
    assert run_ingest(without_catalog).counts == Counts(n_in=3, done=2, filtered=1)


def test_a_replaced_image_is_looked_at_again_and_never_sharded_unseen(tmp_path, images, settings, run_ingest):
    what = source(tmp_path, images, ["1,a.png,1,0", "2,b.png,1,0", "3,c.png,0,1"])
    run_ingest(what)
    first = shard.plan(what.survey, settings, pixels=32)
    whole = shard.finish(first, total(shard.run_chunk(chunk, settings) for chunk in first.chunks))
    cv2.imwrite(str(images / "a.png"), np.random.default_rng(9).integers(0, 255, (50, 50, 3), dtype=np.uint8))
    other = shard.plan(what.survey, settings, pixels=48)
    assert total(shard.run_chunk(chunk, settings) for chunk in other.chunks).failed == 1
    with CatalogStore(settings.catalog_url) as store:
        assert store.failures("mine", "shard")["reason"].to_list() == ["changed"]
    assert run_ingest(what).counts.done == 3
    again = shard.plan(what.survey, settings, pixels=32)
    assert (
        shard.finish(again, total(shard.run_chunk(chunk, settings) for chunk in again.chunks)).fingerprint
        != whole.fingerprint
    )


def test_an_image_that_comes_back_is_sharded_by_the_next_run(tmp_path, images, settings, run_ingest):
    what = source(tmp_path, images, ["1,a.png,1,0", "2,b.png,1,0", "3,c.png,0,1"])
    run_ingest(what)
    (images / "b.png").rename(tmp_path / "away.png")
    for expected in (2, 3):
        plan = shard.plan(what.survey, settings, pixels=32)
        counts = total(shard.run_chunk(chunk, settings) for chunk in plan.chunks)
        assert counts.done == expected
        shard.finish(plan, counts)
        if expected == 2:
            (tmp_path / "away.png").rename(images / "b.png")
    with CatalogStore(settings.catalog_url) as store:
        assert store.failures("mine").is_empty()


def test_a_broken_archive_is_refused_before_anything_is_written(tmp_path, images, settings):
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 not a whole archive")
    what = source(tmp_path, images, ["1,a.png,1,0"], images=(str(tmp_path / "cut.zip"),))
    with pytest.raises(SettingsError, match="not a complete ZIP file"):
        ingest.check(what)
    assert not settings.home.exists()
