from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gzflow import load_survey, survey_names
from gzflow.catalog.draft import draft_survey, slug
from gzflow.catalog.draft_toml import draft_toml
from gzflow.catalog.preview import preview_catalog
from gzflow.catalog.recognition import recognised
from gzflow.errors import SurveyError, VotesDisagree


def drafted(frame: pl.DataFrame, folder: Path, name: str = "My Table.csv"):
    path = folder / name
    frame.write_csv(path)
    return draft_survey(path)


def loaded(text: str, folder: Path):
    path = folder / "drafted.toml"
    path.write_text(text)
    return load_survey(path)


@pytest.mark.parametrize("name", sorted(name for name in survey_names() if load_survey(name).vote_columns()))
def test_every_shipped_survey_with_votes_knows_its_own_columns(name: str) -> None:
    survey = load_survey(name)
    columns = [survey.catalog.id, survey.catalog.ra, survey.catalog.dec]
    columns += [column for pair in survey.vote_columns() for column in pair]
    columns += [column for columns in survey.carried_columns().values() for column in columns]
    found = recognised(list(dict.fromkeys(column for column in columns if column)))
    same = {other for other in found if load_survey(other).vote_columns() == survey.vote_columns()}
    assert name in same == set(found)


@pytest.mark.parametrize(
    ("table", "survey"),
    [
        ("gz_samples/galaxy_zoo_2/gz2_hart16.csv", "gz2"),
        ("gz_samples/galaxy_zoo_decals/gz_decals_volunteers_5.csv", "decals"),
        ("gz_samples/galaxy_zoo_decals/gz_decals_volunteers_1_and_2.csv", "decals_dr12"),
        ("gz_samples/galaxy_zoo_challenge/training_solutions_rev1.csv", "kaggle"),
        ("gz2_stripe82/table5.csv.gz", "gz2_stripe82"),
    ],
)
def test_the_real_tables_are_recognised(shared_data: Path, tmp_path: Path, table: str, survey: str) -> None:
    draft = draft_survey(shared_data / table)
    assert draft.extends[0] == survey
    variant = loaded(draft_toml(draft), tmp_path)
    assert variant.tree == load_survey(survey).tree
    assert variant.name == f"my-{survey}"


def test_a_real_table_under_other_names_gives_its_votes_and_its_routes(shared_data: Path, tmp_path: Path) -> None:
    real = shared_data / "gz_samples/galaxy_zoo_decals/gz_decals_volunteers_1_and_2.csv"
    frame = pl.read_csv(real)
    renamed = {
        c: c.replace("smooth-or-featured", "Overall Shape").replace("_total-votes", "_total") for c in frame.columns
    }
    draft = drafted(frame.rename(renamed), tmp_path)
    assert (draft.extends, draft.ids, draft.positions) == ((), ("iauname",), (("ra", "dec"),))
    survey = loaded(draft_toml(draft), tmp_path)
    base = load_survey("decals_dr12")
    assert [q.answers for q in survey.tree.questions] == [q.answers for q in base.tree.questions]
    likely = {question.name: question.likely for question in draft.questions}
    assert likely["how-rounded"] == ("overall-shape=smooth",)
    assert likely["edge-on-bulge"] == ("disk-edge-on=yes",)
    assert likely["overall-shape"] == likely["merging"] == ()
    assert all(question.asked_after == () for question in survey.tree.questions)
    found = preview_catalog(survey, tmp_path / "My Table.csv")
    ours = preview_catalog(base, real)
    assert np.array_equal(found.votes.drop("id_str").to_numpy(), ours.votes.drop("id_str").to_numpy())


def test_labels_of_ones_own_become_the_survey_of_the_manual(tmp_path: Path) -> None:
    frame = pl.DataFrame({"id_str": ["a", "b"], "file": ["a.png", "b.jpg"], "ring_yes": [1, 0], "ring_no": [0, 1]})
    survey = loaded(draft_toml(drafted(frame, tmp_path, "rings.csv")), tmp_path)
    assert (survey.name, survey.catalog.id, survey.catalog.image) == ("rings", "id_str", "file")
    assert survey.vote_columns() == (("ring_yes", None), ("ring_no", None))


def test_fractions_with_totals_are_recognised(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"objid": ["5", "6", "7"], "t01_bar_total_count": [4, 0, 3], "t01_bar_a1_fraction": [0.25, None, 1 / 3]}
        | {"t01_bar_a2_fraction": [0.75, None, 2 / 3], "t01_bar_a1_weighted_fraction": [0.3, None, 0.4]}
    )
    draft = drafted(frame, tmp_path)
    assert (draft.form, draft.suffix, draft.total) == ("fraction", "_fraction", "_total_count")
    survey = loaded(draft_toml(draft), tmp_path)
    assert survey.vote_columns()[0] == ("t01_bar_a1_fraction", "t01_bar_total_count")
    assert preview_catalog(survey, tmp_path / "My Table.csv").votes.rows() == [("5", 1, 3), ("6", 0, 0), ("7", 1, 2)]


def test_what_cannot_be_known_is_left_out_and_said(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"id": [1, 1], "ra": [10.0, 999.0], "dec": [0.0, 1.0], "petro_th50": [1.5, 2.5], "petro_th90": [3.5, 4.5]}
    )
    draft = drafted(frame, tmp_path, "odd.csv")
    assert (draft.ids, draft.positions, draft.questions) == ((), (), ())
    text = draft_toml(draft)
    assert "None was recognised that has no value twice" in text
    assert "no columns of votes were recognised" in text
    with pytest.raises(SurveyError, match="catalog") as caught:
        loaded(text, tmp_path)
    assert "catalog.id: missing" in str(caught.value)


def test_ids_that_are_floats_are_no_candidates(tmp_path: Path) -> None:
    frame = pl.DataFrame({"objid": ["5.87e17", "5.88e17"], "name": ["a", "b"]})
    assert drafted(frame, tmp_path).ids == ("name",)


def test_texts_of_a_person_are_quoted(tmp_path: Path) -> None:
    frame = pl.DataFrame({'id "x"\\_id': ["a", "b"], "ring_yes": [1, 0], "ring_no": [0, 1]})
    document = tomllib.loads(draft_toml(drafted(frame, tmp_path)))
    assert document["catalog"]["id"] == 'id "x"\\_id'


def test_slugs_are_names_that_trees_take() -> None:
    assert slug("Overall Shape (v2)") == "overall-shape-v2"
    assert slug("t01_smooth_or_features") == "t01-smooth-or-features"


def test_a_preview_reads_and_judges_the_first_rows_only(shared_data: Path) -> None:
    path = shared_data / "gz2_stripe82/table5.csv.gz"
    found = preview_catalog(load_survey("gz2_stripe82"), path, rows=7)
    assert (found.n_read, len(found.galaxies)) == (7, 7)


def test_a_previews_error_names_the_users_file(shared_data: Path, tmp_path: Path) -> None:
    toml = '[survey]\nextends = "gz2_stripe82"\nname = "wrong"\n[catalog.votes]\ntotal = "total_classifications"\n'
    (tmp_path / "wrong.toml").write_text(toml)
    path = shared_data / "gz2_stripe82/table5.csv.gz"
    with pytest.raises(VotesDisagree) as caught:
        preview_catalog(load_survey(tmp_path / "wrong.toml"), path, rows=30)
    assert f"{path}, its first 30 rows" in str(caught.value)


def test_predictions_of_another_model_are_no_votes(shared_data: Path, tmp_path: Path) -> None:
    table = shared_data / "gz_samples/galaxy_zoo_decals/gz_decals_auto_posteriors.csv"
    draft = draft_survey(table)
    assert (draft.extends, draft.predictions[0], draft.unfiltered) == ((), "decals", False)
    survey = loaded(draft_toml(draft), tmp_path)
    assert survey.tree == load_survey("decals").tree
    assert (survey.catalog.id, survey.catalog.votes, survey.name) == ("iauname", None, "gz-decals-auto-posteriors")
    assert preview_catalog(survey, table).n_galaxies > 0


def test_predictions_without_the_columns_of_the_filter(tmp_path: Path) -> None:
    columns = {f"{answer}_fraction": [0.5, 0.4] for answer in load_survey("decals").tree.answers}
    draft = drafted(pl.DataFrame({"id_str": ["a", "b"], "ra": [1.0, 2.0], "dec": [3.0, 4.0]} | columns), tmp_path)
    assert draft.predictions[0] == "decals"
    assert draft.unfiltered
    survey = loaded(draft_toml(draft), tmp_path)
    assert (survey.catalog.where, survey.catalog.votes) == (None, None)
