"""No object is trained on in one survey and tested on in another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gzflow.catalog.objects import linked
from gzflow.catalog.read import read_catalog
from gzflow.catalog.split import assign
from gzflow.catalog.store import CatalogStore
from gzflow.catalog.store.cutouts import CutoutRecord
from gzflow.settings import Settings
from gzflow.sky import cells
from gzflow.stages import crossmatch, shard
from gzflow.stages.split_keys import canonical_cells, split_keys
from gzflow.stages.unmatched import unmatched
from gzflow.surveys import load_survey

N = 2000
TOML = """
[survey]
name = "{name}"
[catalog]
id = "id"
ra = "ra"
dec = "dec"
image = "file"
[catalog.votes]
count = "{{question}}_{{answer}}"
[[question]]
name = "ring"
answers = ["yes", "no"]
"""


def positions(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One sky, as surveys of 0.4 arcsec see it."""
    sky, noise = np.random.default_rng(1), np.random.default_rng(seed)
    ra, dec = sky.uniform(-5, 5, N), sky.uniform(-5, 5, N)
    return (ra + noise.normal(0, 0.4 / 3600, N)) % 360, dec + noise.normal(0, 0.4 / 3600, N)


@pytest.fixture
def surveys(tmp_path: Path, settings: Settings) -> dict[str, str]:
    """Three surveys of one sky in the store; survey `c` names one galaxy without a position."""
    made = {}
    for seed, name in enumerate("abc"):
        ra, dec = positions(seed)
        toml, table = tmp_path / f"{name}.toml", tmp_path / f"{name}.csv"
        toml.write_text(TOML.format(name=name))
        frame = pl.DataFrame({"id": [f"{name}{n}" for n in range(N)], "ra": ra, "dec": dec}).with_columns(
            pl.col("id").alias("file"), pl.lit(1).alias("ring_yes"), pl.lit(2).alias("ring_no")
        )
        if name == "c":
            frame = frame.with_columns(pl.when(pl.col("id") == "c0").then(None).otherwise("ra").alias("ra"))
        frame.write_csv(table)
        survey = load_survey(toml)
        with CatalogStore(settings.catalog_url) as store:
            store.upsert_catalog(survey, read_catalog(survey, table))
        made[name] = str(toml)
    return made


def match(surveys: dict[str, str], left: str, right: str, settings: Settings) -> crossmatch.CrossmatchSummary:
    (chunk,) = crossmatch.plan(surveys[left], surveys[right], 3.0, "best", settings)
    return crossmatch.run_chunk(chunk, settings)


def splits(name: str, settings: Settings) -> dict[int, str]:
    """Of each galaxy of a survey by its number in the sky."""
    with CatalogStore(settings.catalog_url) as store:
        table = store.galaxies(name)
        ids = table["id_str"].to_list()
        ra, dec = (table[column].fill_null(float("nan")).to_numpy() for column in ("ra", "dec"))
        found = assign(split_keys(store, name, ids, ra, dec), ids)
    assert not found.forced
    return {int(id_str[1:]): str(split) for id_str, split in zip(ids, found.splits, strict=True)}


def parted(one: dict[int, str], other: dict[int, str]) -> set[int]:
    return {n for n in one if n and one[n] != other[n]}


def test_no_matched_galaxy_is_on_two_sides(surveys: dict[str, str], settings: Settings) -> None:
    before = {name: splits(name, settings) for name in "abc"}
    leaks = parted(before["a"], before["b"])
    assert leaks  # at the borders of cells, by position alone
    summary = match(surveys, "a", "b", settings)
    assert all(0 < n < N / 50 for n in summary.n_moved)
    match(surveys, "b", "c", settings)  # a and c are linked through b
    after = {name: splits(name, settings) for name in "abc"}
    assert not parted(after["a"], after["b"])
    assert not parted(after["b"], after["c"])
    assert not parted(after["a"], after["c"])
    moved = [n for n in range(1, N) if after["a"][n] != before["a"][n]]
    assert 0 < len(moved) < N / 50


def test_the_way_of_matching_does_not_matter(surveys: dict[str, str], settings: Settings) -> None:
    match(surveys, "b", "c", settings)
    match(surveys, "a", "b", settings)
    first = {name: splits(name, settings) for name in "abc"}
    match(surveys, "c", "a", settings)
    match(surveys, "b", "a", settings)
    assert {name: splits(name, settings) for name in "abc"} == first


def test_a_mistaken_match_is_replaced_from_either_side(surveys: dict[str, str], settings: Settings) -> None:
    (mistake,) = crossmatch.plan(surveys["b"], surveys["a"], 600.0, "nearest", settings)
    with CatalogStore(settings.catalog_url) as store:
        wrong = pl.DataFrame({"left_id": ["b1"], "right_id": ["a7"], "separation_arcsec": [500.0]})
        store.record_crossmatch(mistake.left, mistake.right, mistake.radius_arcsec, mistake.how, wrong)
    match(surveys, "a", "b", settings)
    with CatalogStore(settings.catalog_url) as store:
        assert store.crossmatches().select("left_survey", "right_survey").rows() == [("a", "b")]
        members = linked(store, "a")
        assert members.group_by("object").len()["len"].max() == 2


def test_surveys_of_the_same_sky_that_no_match_links_are_told(surveys: dict[str, str], settings: Settings) -> None:
    ra, dec = positions(0)
    match(surveys, "a", "b", settings)
    with CatalogStore(settings.catalog_url) as store:
        shares = unmatched(store, "a", ra, dec)
        assert list(shares) == ["c"]
        assert shares["c"] > 0.95
        assert not unmatched(store, "a", (ra + 90) % 360, dec)
        assert not unmatched(store, "a", [np.nan], [np.nan])
    match(surveys, "b", "c", settings)
    with CatalogStore(settings.catalog_url) as store:
        assert not unmatched(store, "a", ra, dec)


def test_sharding_says_which_match_is_missing(
    surveys: dict[str, str], settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    place = {"state": "done", "path": "nowhere.png", "bytes": 1, "sha256": "0" * 64}
    with CatalogStore(settings.catalog_url) as store:
        store.record_cutouts("a", [CutoutRecord(f"a{n}", **place) for n in range(N)])
    shard.plan(surveys["a"], settings, pixels=32)
    said = [record.getMessage() for record in caplog.records if "no recorded match" in record.getMessage()]
    assert len(said) == 2
    assert " % of the galaxies of b are also in a " in said[0]
    assert f"gzflow crossmatch {surveys['a']} b" in said[0]


def test_the_canonical_cell_is_the_smallest() -> None:
    ra, dec = [10.0, 10.05, 10.1, 33.0], [0.0, 0.05, 0.1, None]
    members = pl.DataFrame(
        {"survey": ["a", "b", "c", "a"], "id_str": ["1", "2", "3", "4"], "object": [0, 0, 0, 1], "ra": ra, "dec": dec}
    )
    smallest = int(cells(ra[:3], dec[:3]).min())
    assert canonical_cells(members, "a").rows() == [("1", smallest)]
    assert canonical_cells(members, "c").rows() == [("3", smallest)]


def test_a_galaxy_without_position_goes_by_its_id(surveys: dict[str, str], settings: Settings) -> None:
    with CatalogStore(settings.catalog_url) as store:
        assert split_keys(store, "c", ["c0"], [np.nan], [3.0]) == ["c0"]
