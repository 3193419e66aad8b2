"""The real files that Galaxy Zoo published, or synthetic rows under their real headers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gzflow import load_survey
from gzflow.catalog.read import read_catalog
from gzflow.catalog.votes import whole_votes
from gzflow.errors import EmptyCatalog, MissingColumns


@pytest.fixture(scope="session")
def headers(shared_data: Path) -> dict[str, list[str]]:
    path = shared_data.parent / "facts" / "headers.json"
    if not path.is_file():
        pytest.skip("the collected table headers are not beside this checkout (../shared/facts)")
    return json.loads(path.read_text())


def test_decals(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "gz_samples/galaxy_zoo_decals/gz_decals_volunteers_5.csv"
    survey = load_survey("decals")
    found = read_catalog(survey, source)
    assert (found.n_read, len(found.galaxies), found.n_filtered, found.n_failed) == (6, 6, 0, 0)
    assert found.galaxies["image"][0] == "J081/J081412.47+220853.0.png"
    assert found.galaxies["pixscale"][0] == pytest.approx(min(3.1437035 * 0.04, 10.416905 * 0.02))
    assert json.loads(found.galaxies["carried"][0])["upload_group"] == "active_baseline"
    raw = pl.read_csv(source)
    merging = [answer for answer in survey.tree.answers if answer.startswith("merging")]
    others = [answer for answer in survey.tree.answers if answer not in merging]
    assert np.array_equal(found.votes.select(others).to_numpy(), raw.select(others).to_numpy())
    # Two pre_active galaxies have merging totals of 35 and 32 for 32 and 1 votes: those votes are left out.
    off = raw.filter(pl.sum_horizontal(merging) != pl.col("merging_total-votes"))["iauname"].to_list()
    assert set(raw.filter(pl.col("iauname").is_in(off))["upload_group"]) == {"pre_active"}
    assert found.votes.filter(pl.col("id_str").is_in(off)).select(merging).to_numpy().sum() == 0
    assert found.notes[0].startswith("2 of 6 galaxies lose their votes of one question (merging:")
    parquet = tmp_path / "gz_decals_volunteers_5.parquet"
    raw.write_parquet(parquet)
    again = read_catalog(survey, parquet)
    assert again.votes.equals(found.votes)
    assert again.galaxies.drop("carried").equals(found.galaxies.drop("carried"))


def test_the_earlier_decals_campaign_is_refused_with_all_its_missing_columns(shared_data: Path) -> None:
    with pytest.raises(MissingColumns, match="lacks 21 column") as caught:
        read_catalog(
            load_survey("decals"), shared_data / "gz_samples/galaxy_zoo_decals/gz_decals_volunteers_1_and_2.csv"
        )
    assert "'bar_strong'" in str(caught.value)
    assert "the table has all columns of survey decals_dr12" in str(caught.value)


def test_gz2_with_its_file_mapping_and_radii(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "gz_samples/galaxy_zoo_2"
    sizes = tmp_path / "gz2sample.csv"
    sizes.write_text("objid,petror90_r\n587737825678131439,10.0\n")
    found = read_catalog(
        load_survey("gz2"),
        folder / "gz2_hart16.csv",
        joins={"gz2sample": sizes},
        mapping=folder / "gz2_filename_mapping.csv",
    )
    assert found.galaxies["id_str"].to_list() == ["587737825678131439", "587726016142835881", "587736542560715163"]
    assert found.galaxies["image"].to_list() == ["106587.jpg", "16126.jpg", "91609.jpg"]
    assert all((folder / "images" / name).is_file() for name in found.galaxies["image"])
    assert found.galaxies["pixscale"].to_list() == [pytest.approx(0.2), None, None]
    assert found.votes["smooth-or-featured_featured-or-disk"].to_list() == [36, 8, 26]
    raw = pl.read_csv(folder / "gz2_hart16.csv")
    assert found.votes.drop("id_str").sum_horizontal().to_list() == raw["total_votes"].to_list()


def test_stripe82_19761_rows(shared_data: Path) -> None:
    source = shared_data / "gz2_stripe82/table5.csv.gz"
    survey = load_survey("gz2_stripe82")
    found = read_catalog(survey, source)
    assert (found.n_read, len(found.galaxies), found.n_failed) == (19_761, 19_761, 0)
    assert found.notes == ()
    raw = pl.read_csv(source)
    assert found.galaxies["id_str"].cast(pl.Int64).equals(raw["objid"].alias("id_str"))
    assert found.votes.drop("id_str").sum_horizontal().to_list() == raw["total_votes"].to_list()
    first = [column for column, _ in survey.vote_columns()][:3]
    assert found.votes.select(found.votes.columns[1:4]).rows() == raw.select(first).rows()


def test_fractions_published_beside_counts_give_the_same_votes(shared_data: Path, tmp_path: Path) -> None:
    """As Galaxy Zoo: Hubble must be read. (In the pre-release tables the fractions of most galaxies are weighted.)"""
    source = shared_data / "gz_samples/galaxy_zoo_2/gz2_hart16.csv"
    survey = load_survey("gz2")
    counts = read_catalog(survey, source).votes
    totals = {
        f"{q.task}_total": counts.select(pl.sum_horizontal(survey.tree.answers[part])).to_series()
        for q, part in zip(survey.question, survey.tree.slices, strict=True)
    }
    path = tmp_path / "fractions.toml"
    path.write_text(
        '[survey]\nextends = "gz2"\nname = "fractions"\n[catalog.votes]\ncount = false\n'
        'fraction = "{task}_{column}_fraction"\ntotal = "{task}_total"\n'
    )
    found = whole_votes(load_survey(path), pl.read_csv(source).with_columns(**totals), where="gz2_hart16")
    assert np.array_equal(found.counts, counts.drop("id_str").to_numpy())
    assert found.problems == ()
    assert 0 < found.residual < 0.05


def test_another_sample_of_the_same_format_is_refused_by_the_filter(shared_data: Path) -> None:
    with pytest.raises(EmptyCatalog, match="keeps none of 288 rows"):
        read_catalog(load_survey("gz2_stripe82"), shared_data / "ferengi/GZ2_FERENGI_matched_to_gz2_catalog.csv")


def test_ferengi_matched_rows_through_a_users_variant(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "ferengi/GZ2_FERENGI_matched_to_gz2_catalog.csv"
    path = tmp_path / "ferengi.toml"
    path.write_text('[survey]\nextends = "gz2_stripe82"\nname = "ferengi"\n[catalog]\nid = "OBJID"\nwhere = false\n')
    found = read_catalog(load_survey(path), source)
    assert (found.n_read, len(found.galaxies)) == (288, 288)
    assert found.galaxies["id_str"][0] == "587735348026605686"
    samples = [json.loads(text)["sample"] for text in found.galaxies["carried"]]
    assert {sample: samples.count(sample) for sample in set(samples)} == {"original": 216, "extra": 61, "stripe82": 11}


def synthetic(
    headers: list[str], survey_name: str, n: int, rng: np.random.Generator
) -> tuple[pl.DataFrame, np.ndarray]:
    """Rows under a real header: votes of volunteers as fractions of three decimals, and the whole votes behind them."""
    survey = load_survey(survey_name)
    frame = {name: [""] * n for name in headers}
    votes = np.zeros((n, len(survey.tree.answers)), int)
    for question, part in zip(survey.tree.questions, survey.tree.slices, strict=True):
        pairs = survey.vote_columns()[part]
        votes[:, part] = rng.integers(0, 12, (n, len(question.answers))) * rng.integers(0, 2, (n, 1))
        total = votes[:, part].sum(axis=1)
        for i, (column, _) in enumerate(pairs):
            share = votes[:, part.start + i] / np.maximum(total, 1)
            frame[column] = [f"{x:.3f}" if t else "" for x, t in zip(share, total, strict=True)]
        frame[str(pairs[0][1])] = [str(t) for t in total]
    return pl.DataFrame(frame), votes


def test_hubble_under_its_real_header(headers: dict[str, list[str]], tmp_path: Path) -> None:
    frame, votes = synthetic(headers["gz_hubble_main"], "hubble", 40, np.random.default_rng(3))
    ids = [f"AHZ{i:07d}" for i in range(40)]
    frame = frame.with_columns(
        pl.Series("zooniverse_id", ids),
        pl.Series("survey_id", [str(20_000_000 + i) for i in range(40)]),
        pl.Series("RA", [150.0 + i / 100 for i in range(40)]),
        pl.Series("DEC", [2.0] * 40),
        pl.Series("Z_BEST", [999.0] * 40),
        pl.Series("imaging", ["AEGIS   "] * 40),
    )
    path = tmp_path / "gz_hubble_main.csv.gz"
    frame.write_csv(path, compression="gzip")
    found = read_catalog(load_survey("hubble"), path)
    assert found.galaxies["id_str"].to_list() == ids
    assert found.galaxies["image"][0] == "20000000.jpg"
    assert json.loads(found.galaxies["carried"][0])["imaging"] == "AEGIS"
    assert np.array_equal(found.votes.drop("id_str").to_numpy(), votes)
    assert 0 < found.rounding_residual < 0.1


def test_candels_under_its_real_header(headers: dict[str, list[str]], tmp_path: Path) -> None:
    frame, votes = synthetic(headers["gz_candels_table_2_main_release"], "candels", 30, np.random.default_rng(4))
    frame = frame.with_columns(
        pl.Series("ID", [f"COS_{i}   " for i in range(30)]),
        pl.Series("RA", [150.0] * 30),
        pl.Series("Dec", [2.0] * 30),
        pl.Series("num_classifications", [40.0] * 30),
    )
    path = tmp_path / "gz_candels_table_2_main_release.csv"
    frame.write_csv(path)
    found = read_catalog(load_survey("candels"), path)
    assert found.galaxies["id_str"][3] == "COS_3"
    assert found.galaxies["image"][3] == "COS_3.jpg"
    assert np.array_equal(found.votes.drop("id_str").to_numpy(), votes)


def test_hubble_check_boxes_lose_their_question_and_keep_the_galaxy(
    headers: dict[str, list[str]], tmp_path: Path
) -> None:
    frame, _ = synthetic(headers["gz_hubble_main"], "hubble", 10, np.random.default_rng(5))
    ticked = {f"t08_odd_feature_a0{i}_{name}_fraction": "1.0" for i, name in ((1, "ring"), (6, "merger"))}
    odd = frame.select(c for c in frame.columns if c.startswith("t08_") and c.endswith("_fraction")).columns
    row = pl.int_range(pl.len()) == 0
    frame = frame.with_columns(
        pl.Series("zooniverse_id", [f"AHZ{i}" for i in range(10)]),
        *(pl.when(row).then(pl.lit(ticked.get(c, "0.0"))).otherwise(c).alias(c) for c in odd),
        pl.when(row).then(pl.lit("12")).otherwise("t08_odd_feature_total_count").alias("t08_odd_feature_total_count"),
    )
    path = tmp_path / "gz_hubble_main.csv"
    frame.write_csv(path)
    found = read_catalog(load_survey("hubble"), path)
    assert len(found.galaxies) == 10
    assert found.votes["odd-feature_ring"][0] == 0
    lost = "1 of 10 galaxies lose their votes of one question (odd-feature: the answers add up to 24"
    assert any(lost in note for note in found.notes)
