"""The tables beside the main ones: votes made here under their real headers, and real rows where there are some."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gzflow import load_survey
from gzflow.catalog.read import read_catalog
from gzflow.surveys import Survey

TABLES = {
    "decals": "gz_decals_volunteers_5",
    "decals_dr12": "gz_decals_volunteers_1_and_2",
    "gz2_main_photoz": "zoo2MainPhotoz",
    "gz2_main_specz": "zoo2MainSpecz",
    "gz2_stripe82_coadd1": "zoo2Stripe82Coadd1",
    "gz2_stripe82_coadd2": "zoo2Stripe82Coadd2",
    "gz2_stripe82_normal": "zoo2Stripe82Normal",
    "hubble_faded": "gz_hubble_faded",
    "hubble_ferengi": "gz_hubble_ferengi",
    "hubble_goods_shallow": "gz_hubble_goods_shallow",
    "hubble_recoloured": "gz_hubble_recoloured",
    "hubble_sdss_coadd": "gz_hubble_sdss_coadd",
    "hubble_sdss_single": "gz_hubble_sdss_single",
    "hubble_simulated_agn": "gz_hubble_simulated_agn",
}


@pytest.fixture(scope="session")
def headers(shared_data: Path) -> dict[str, list[str]]:
    path = shared_data.parent / "facts" / "headers.json"
    if not path.is_file():
        pytest.skip("the collected table headers are not beside this checkout (../shared/facts)")
    return json.loads(path.read_text())


def made(survey: Survey, columns: list[str], n: int, rng: np.random.Generator) -> tuple[pl.DataFrame, np.ndarray]:
    """Rows under a header as released, and the whole votes behind them."""
    section, catalog = survey.catalog.votes, survey.catalog
    assert section is not None
    frame: dict[str, list[object]] = {name: [None] * n for name in columns}
    votes = np.zeros((n, len(survey.tree.answers)), int)
    for part in survey.tree.slices:
        votes[:, part] = rng.integers(0, 12, (n, part.stop - part.start))
        total = votes[:, part].sum(axis=1)
        for answer, (column, sum_column) in zip(range(part.start, part.stop), survey.vote_columns()[part], strict=True):
            shares = (votes[:, answer] / np.maximum(total, 1)).round(4)
            frame[column] = (votes[:, answer] if section.count else shares).tolist()
            frame[str(sum_column)] = total.tolist()
    if section.count and section.total == "total_votes":
        frame["total_votes"] = votes.sum(axis=1).tolist()
    frame[catalog.id] = [8_647_474_690_312_307_154 + i for i in range(n)]
    if catalog.ra and catalog.dec:
        frame |= {catalog.ra: rng.uniform(0, 360, n).tolist(), catalog.dec: rng.uniform(-90, 90, n).tolist()}
    if "sample" in frame:
        frame["sample"] = ["original"] * n
    for entry, names in survey.carried_columns().items():
        if "{" in entry:
            frame |= {name: rng.random(n).round(3).tolist() for name in names}
    return pl.DataFrame(frame, strict=False), votes


@pytest.mark.parametrize("name", TABLES)
def test_votes_and_what_is_carried_come_through(name: str, headers: dict[str, list[str]], tmp_path: Path) -> None:
    survey = load_survey(name)
    columns = [("gz2_class" if c == "gz2class" else c) for c in headers[TABLES[name]]]
    frame, votes = made(survey, columns, 12, np.random.default_rng(len(name)))
    path = tmp_path / f"{TABLES[name]}.csv"
    frame.write_csv(path)
    found = read_catalog(survey, path)
    assert (found.n_read, len(found.galaxies), found.n_failed) == (12, 12, 0)
    assert found.galaxies["id_str"].to_list() == [str(8_647_474_690_312_307_154 + i) for i in range(12)]
    assert np.array_equal(found.votes.drop("id_str").to_numpy(), votes)
    carried = [json.loads(text) for text in found.galaxies["carried"]]
    assert all(row.keys() == set(survey.carried_entries) for row in carried)
    for entry, names in survey.carried_columns().items():
        if "{" in entry:
            assert [row[entry] for row in carried] == [list(row) for row in frame.select(names).iter_rows()]


def test_six_real_rows_of_the_earlier_decals_campaigns(shared_data: Path) -> None:
    survey = load_survey("decals_dr12")
    folder = shared_data / "gz_samples/galaxy_zoo_decals"
    found = read_catalog(survey, folder / "gz_decals_volunteers_1_and_2.csv")
    assert (len(found.galaxies), found.failures, found.notes) == (6, (), ())
    assert found.votes.select("smooth-or-featured_smooth", "how-rounded_completely", "merging_neither").row(0) == (
        31,
        0,
        47,
    )
    first = json.loads(found.galaxies["carried"][0])
    assert (first["upload_group"], first["active_learning_on"], first["data_release"]) == ("pre_active", False, "DR1")
    assert first["{question}_{answer}_debiased"][0] == 0.36784665128481
    names = [path for path in found.galaxies["image"] if not list(folder.glob(f"gz_decals_dr5_png_part*/{path}"))]
    assert names == []


def test_galaxies_of_the_wrong_size_are_left_out_and_counted(shared_data: Path, tmp_path: Path) -> None:
    raw = pl.read_csv(shared_data / "gz_samples/galaxy_zoo_decals/gz_decals_volunteers_5.csv")
    warned = pl.Series("wrong_size_warning", [True, None, *[False] * 4])
    raw.with_columns(warned).write_csv(tmp_path / "volunteers.csv")
    found = read_catalog(load_survey("decals"), tmp_path / "volunteers.csv")
    assert (found.n_read, found.n_filtered, len(found.galaxies)) == (6, 1, 5)
    assert json.loads(found.galaxies["carried"][0])["wrong_size_warning"] is None


def test_depth_corrected_fractions_join_candels(headers: dict[str, list[str]], tmp_path: Path) -> None:
    survey = load_survey("candels")
    frame, votes = made(survey, headers["gz_candels_table_2_main_release"], 8, np.random.default_rng(1))
    own = frame.select(headers["gz_candels_table_2_main_release"])
    own.write_csv(tmp_path / "table2.csv")
    entry = "{task}_{column}_weighted_frac_deepcorr"
    names = survey.carried_columns()[entry]
    frame.select("ID", *names).head(3).write_csv(tmp_path / "table4.csv")
    found = read_catalog(
        survey, tmp_path / "table2.csv", joins={"gz_candels_table_4_depth_corr": tmp_path / "table4.csv"}
    )
    assert np.array_equal(found.votes.drop("id_str").to_numpy(), votes)
    carried = [json.loads(text)[entry] for text in found.galaxies["carried"]]
    assert carried[0] == list(frame.select(names).row(0))
    assert carried[5] == [None] * len(survey.tree.answers)
    assert "5 of 8 rows have no partner in gz_candels_table_4_depth_corr" in found.notes


def test_the_missing_redshift_of_hubble_is_none(headers: dict[str, list[str]], tmp_path: Path) -> None:
    survey = load_survey("hubble")
    frame, _ = made(survey, headers["gz_hubble_main"], 3, np.random.default_rng(2))
    frame.with_columns(Z_BEST=pl.Series([999.0, 0.5, -999.0])).write_csv(tmp_path / "main.csv")
    found = read_catalog(survey, tmp_path / "main.csv")
    assert [json.loads(text)["Z_BEST"] for text in found.galaxies["carried"]] == [None, 0.5, None]


def test_columns_that_a_release_may_lack_are_said_and_none(headers: dict[str, list[str]], tmp_path: Path) -> None:
    survey = load_survey("hubble")
    columns = [c for c in headers["gz_hubble_main"] if c not in {"MAG_BEST_HI", "GZ_MU_HI"}]
    frame, _ = made(survey, [*columns, "GZ_MU_I"], 2, np.random.default_rng(3))
    frame.drop("MAG_BEST_HI", "GZ_MU_HI", strict=False).with_columns(GZ_MU_I=pl.Series([21.5, 22.0])).write_csv(
        tmp_path / "main.csv"
    )
    found = read_catalog(survey, tmp_path / "main.csv")
    first = json.loads(found.galaxies["carried"][0])
    assert (first["GZ_MU_I"], first["GZ_MU_HI"], first["MAG_BEST_HI"]) == (21.5, None, None)
    assert "the table has no MAG_BEST_HI, GZ_MU_HI" in found.notes
