from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gzflow import load_survey
from gzflow.errors import PredictionError
from gzflow.posterior import fractions, intervals, proportions_asked, variances
from gzflow.prediction.export import part_table, write_part
from gzflow.prediction.predict import PredictionPart
from gzflow.tree import DecisionTree, Question

TREE = load_survey("decals").tree


@pytest.fixture
def part() -> PredictionPart:
    rng = np.random.default_rng(0)
    concentrations = rng.uniform(1, 101, (6, 4, len(TREE.answers))).astype(np.float32)
    return PredictionPart([f"g{i}" for i in range(6)], np.arange(6.0), -np.arange(6.0), concentrations)


def test_columns_are_named_by_question_and_answer(part: PredictionPart) -> None:
    table = part_table(part, TREE, {})
    names = set(table.column_names)
    assert {"id_str", "ra", "dec", "smooth-or-featured_proportion-asked"} <= names
    for answer in TREE.answers:
        assert {f"{answer}_fraction", f"{answer}_std", f"{answer}_lower", f"{answer}_upper"} <= names
    assert len(names) == 3 + len(TREE.questions) + 4 * len(TREE.answers)


def test_values_are_those_of_the_posterior(part: PredictionPart) -> None:
    table = part_table(part, TREE, {})
    share = fractions(part.concentrations, TREE)
    lower, upper = intervals(part.concentrations, TREE, 0.9)
    answer = TREE.answers.index("bar_no")
    np.testing.assert_allclose(table["bar_no_fraction"].to_numpy(), share[:, answer], rtol=1e-6)
    np.testing.assert_allclose(table["bar_no_lower"].to_numpy(), lower[:, answer], rtol=1e-6)
    np.testing.assert_allclose(table["bar_no_upper"].to_numpy(), upper[:, answer], rtol=1e-6)
    std = np.sqrt(variances(part.concentrations, TREE))
    np.testing.assert_allclose(table["bar_no_std"].to_numpy(), std[:, answer], rtol=1e-6)
    asked = proportions_asked(part.concentrations, TREE)
    np.testing.assert_allclose(table["bar_proportion-asked"].to_numpy(), asked[:, TREE.index("bar")], rtol=1e-6)
    assert (table["smooth-or-featured_proportion-asked"].to_numpy() == 1).all()


def test_metadata_says_what_the_numbers_are(part: PredictionPart, tmp_path: Path) -> None:
    write_part(tmp_path / "part.parquet", part_table(part, TREE, {"model_version": 3, "acknowledgement": "thanks"}))
    metadata = pq.read_schema(tmp_path / "part.parquet").metadata
    assert metadata[b"model_version"] == b"3"
    assert metadata[b"acknowledgement"] == b"thanks"
    assert metadata[b"n_samples"] == b"4"
    assert metadata[b"interval_level"] == b"0.9"
    assert json.loads(metadata[b"tree"]) == TREE.to_dict()


def test_every_column_says_what_it_is(part: PredictionPart, tmp_path: Path) -> None:
    write_part(tmp_path / "part.parquet", part_table(part, TREE, {}, keep_concentrations=True))
    schema = pq.read_schema(tmp_path / "part.parquet")
    assert all(field.metadata[b"description"] for field in schema)
    assert schema.field("ra").metadata[b"unit"] == b"deg"


def test_concentrations_on_request(part: PredictionPart) -> None:
    table = part_table(part, TREE, {}, keep_concentrations=True)
    kept = np.array(table["bar_no_concentrations"].to_pylist())
    np.testing.assert_array_equal(kept, part.concentrations[:, :, TREE.answers.index("bar_no")])


def test_every_row_of_a_mismatch_is_marked(part: PredictionPart) -> None:
    marked = PredictionPart(part.ids, part.ra, part.dec, part.concentrations, ("pixels: 64 in the model", "b"))
    assert part_table(marked, TREE, {})["recipe_mismatch"].to_pylist() == ["pixels: 64 in the model; b"] * 6
    assert "recipe_mismatch" not in part_table(part, TREE, {}).column_names


def test_an_empty_part_keeps_its_columns(part: PredictionPart) -> None:
    empty = PredictionPart([], np.zeros(0), np.zeros(0), part.concentrations[:0])
    table = part_table(empty, TREE, {}, keep_concentrations=True)
    assert table.num_rows == 0
    assert (
        table.schema.remove_metadata() == part_table(part, TREE, {}, keep_concentrations=True).schema.remove_metadata()
    )


def test_a_written_part_is_whole_and_the_same_bytes_again(part: PredictionPart, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_part(tmp_path / name / "part.parquet", part_table(part, TREE, {"seed": 1}))
    assert (tmp_path / "a/part.parquet").read_bytes() == (tmp_path / "b/part.parquet").read_bytes()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["part.parquet"]
    assert pq.read_table(tmp_path / "a/part.parquet").num_rows == 6


def test_parts_are_small() -> None:
    many = PredictionPart(["x"] * 10_001, np.zeros(10_001), np.zeros(10_001), np.ones((10_001, 1, 34), np.float32))
    with pytest.raises(PredictionError, match="10001 galaxies"):
        part_table(many, TREE, {})


def test_intervals_that_nothing_was_learnt_of_are_withheld(part: PredictionPart) -> None:
    whole = part_table(part, TREE, {})
    lone = part_table(replace(part, unidentified=(TREE.questions[0].name,)), TREE, {})
    assert lone.schema.metadata[b"intervals_withheld"].decode() == TREE.questions[0].name
    first, second = TREE.questions[0].columns[0], TREE.questions[1].columns[0]
    for ending in ("std", "lower", "upper"):
        assert np.isnan(lone[f"{first}_{ending}"].to_numpy()).all()
        assert lone[f"{second}_{ending}"].equals(whole[f"{second}_{ending}"])
    assert lone[f"{first}_fraction"].equals(whole[f"{first}_fraction"])


def test_a_check_box_has_columns_of_its_own(part: PredictionPart) -> None:
    boxes = DecisionTree((Question("rare", ("ring", "lens"), multiple_choice=True),)).parted
    alpha = np.array([[[2.0, 6.0, 1.0, 9.0]], [[3.0, 1.0, 1.0, 1.0]]], np.float32)
    table = part_table(PredictionPart(["a", "b"], np.zeros(2), np.zeros(2), alpha), boxes, {})
    np.testing.assert_allclose(table["rare-ring_yes_fraction"].to_numpy(), [0.25, 0.75])
    np.testing.assert_allclose(table["rare-lens_yes_fraction"].to_numpy(), [0.1, 0.5])
    # Ticks do not share a vote: the two may well add up to more than 1.
    assert table["rare-ring_yes_upper"].to_numpy()[1] > 0.9
