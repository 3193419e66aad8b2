"""The stage on real tables: FERENGI's galaxies of Galaxy Zoo 2 in the co-added images of Stripe 82."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest

from gzflow.catalog.read import read_catalog
from gzflow.catalog.store import CatalogStore
from gzflow.errors import SettingsError, StoreError
from gzflow.settings import Settings
from gzflow.sky import separations_arcsec
from gzflow.stages import crossmatch
from gzflow.surveys import load_survey

TOML = """
[survey]
name = "{name}"
[catalog]
id = "{id}"
ra = "ra"
dec = "dec"
image = "file"
[catalog.votes]
count = "{{question}}_{{answer}}"
[[question]]
name = "ring"
answers = ["yes", "no"]
"""
RADIUS = 2.0


def stored(folder: Path, settings: Settings, name: str, table: pl.DataFrame) -> str:
    """The path of a survey's TOML, its galaxies in the store."""
    toml, file = folder / f"{name}.toml", folder / f"{name}.csv"
    toml.write_text(TOML.format(name=name, id=table.columns[0]))
    table.with_columns(file=pl.col(table.columns[0]), ring_yes=pl.lit(1), ring_no=pl.lit(2)).write_csv(file)
    survey = load_survey(toml)
    with CatalogStore(settings.catalog_url) as store:
        store.upsert_catalog(survey, read_catalog(survey, file))
    return str(toml)


def run(left: str, right: str, how: crossmatch.How, settings: Settings) -> crossmatch.CrossmatchSummary:
    (chunk,) = crossmatch.plan(left, right, RADIUS, how, settings)
    return crossmatch.run_chunk(chunk, settings)


@pytest.fixture
def real(shared_data: Path, tmp_path: Path, settings: Settings) -> tuple[str, str, set[tuple[str, str]]]:
    """Both surveys' TOMLs, and their pairs by trying every one."""
    files = (
        ("ferengi", shared_data / "ferengi" / "GZ2_FERENGI_matched_to_gz2_catalog.csv", "OBJID"),
        ("stripe82", shared_data / "gz2_stripe82" / "table5.csv.gz", "objid"),
    )
    tables = [
        pl.read_csv(file, infer_schema_length=0).select(id_, "ra", "dec").unique(id_, maintain_order=True)
        for _, file, id_ in files
    ]
    left, right = tables
    (ra, dec), (ra2, dec2) = ((t["ra"].cast(float).to_numpy(), t["dec"].cast(float).to_numpy()) for t in tables)
    apart = separations_arcsec(ra[:, None], dec[:, None], ra2[None], dec2[None])
    expected = {(left[int(i), 0], right[int(j), 0]) for i, j in np.argwhere(apart <= RADIUS)}
    tomls = [stored(tmp_path, settings, name, table) for (name, *_), table in zip(files, tables, strict=True)]
    return tomls[0], tomls[1], expected


def test_real_surveys_match_as_by_hand_and_the_report_adds_up(real, settings: Settings) -> None:
    left, right, expected = real
    assert len(expected) == 11
    for how in get_args(crossmatch.How):  # each run replaces the one before
        summary = run(left, right, how, settings)
        found = pl.read_parquet(summary.file)
        assert set(found.select("left_id", "right_id").iter_rows()) == expected
        with CatalogStore(settings.catalog_url) as store:
            assert store.crossmatch("ferengi", "stripe82").equals(found)
            assert store.crossmatches().select("how", "radius_arcsec", "n_matches").rows() == [(how, RADIUS, 11)]
    assert summary.n_matched == (11, 11)
    assert summary.n_unmatched == (summary.n_left - 11, summary.n_right - 11)
    assert (summary.n_shared, summary.n_by_chance, summary.n_crowded) == ((0, 0), 0, 0)
    assert summary.median_arcsec < 0.1
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in summary.pictures.values())
    assert set(summary.pictures) == {"map", "map-ferengi", "map-stripe82", "separations"}
    assert {"": "matched", "ferengi": "11", "stripe82": "11"} in summary.rows()


def test_several_to_one_crowds_and_chance_are_counted(tmp_path: Path, settings: Settings) -> None:
    step = 1 / 3600
    left = pl.DataFrame({"id": ["1", "2", "3", "4"], "ra": [10.0, 10.0, 50.0, None], "dec": [0.0, step, 5.0, 5.0]})
    # A chain of galaxies to the north: one lies where the right survey is moved to for pairs by chance.
    right = pl.DataFrame({"id": ["x", "y"], "ra": [10.0, 50.0], "dec": [0.4 * step, 5 - 60 * step]})
    tomls = [stored(tmp_path, settings, name, table) for name, table in (("left", left), ("right", right))]
    summary = run(*tomls, "nearest", settings)
    assert (summary.n_matches, summary.n_matched, summary.n_shared) == (2, (2, 1), (0, 1))
    assert (summary.n_crowded, summary.n_by_chance, summary.n_unpositioned) == (1, 1, (1, 0))
    assert "2 pairs within 2 arcsec (nearest), about 1 of them by chance" in summary.sentence()
    best = run(*tomls, "best", settings)  # replaces the earlier run
    assert (best.n_matches, best.n_shared, best.n_crowded) == (1, (0, 0), 0)


def test_surveys_without_a_common_galaxy(tmp_path: Path, settings: Settings) -> None:
    frames = [pl.DataFrame({"id": ["1"], "ra": [10.0], "dec": [dec]}) for dec in (1.0, 2.0)]
    tomls = [stored(tmp_path, settings, name, frame) for name, frame in zip(("left", "right"), frames, strict=True)]
    summary = run(*tomls, "all", settings)
    assert (summary.n_matches, summary.median_arcsec) == (0, None)
    assert set(summary.pictures) == {"map", "map-left", "map-right"}


def test_what_cannot_be_matched_is_refused(tmp_path: Path, settings: Settings) -> None:
    toml = stored(tmp_path, settings, "left", pl.DataFrame({"id": ["1"], "ra": [10.0], "dec": [1.0]}))
    with pytest.raises(StoreError, match="not in the catalog store: gz2"):
        crossmatch.plan(toml, "gz2", 2.0, "best", settings)
    with pytest.raises(SettingsError) as caught:
        crossmatch.plan(toml, toml, 0.0, "best", settings)
    assert len(caught.value.problems) == 2
