from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gzflow.catalog.members import ImageMapping, placeholders, rendered
from gzflow.errors import DuplicateIds, LossyIds, MissingColumns
from gzflow.surveys.survey import FileMapping

BY_SAMPLE = FileMapping(id="objid", also=("sample",))


def test_placeholders_are_the_columns_but_for_the_galaxys_own_id() -> None:
    assert placeholders("{id[:4]}/{survey}/{name[2:]}-{survey}.png") == ["survey", "name"]


def test_a_pattern_is_filled_for_each_galaxy() -> None:
    values = {"id": pl.Series(["J081412.47", "ab", None]), "n": pl.Series([7, None, 9])}
    assert rendered("{id[:4]}/{id}.png", values).to_list() == ["J081/J081412.47.png", "ab/ab.png", None]
    assert rendered("x{n}", values).to_list() == ["x7", None, "x9"]


@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=8), st.integers(-9, 9), st.integers(-9, 9))
def test_parts_are_counted_as_python_counts(text: str, start: int, stop: int) -> None:
    assert rendered(f"<{{id[{start}:{stop}]}}>", {"id": pl.Series([text])}).to_list() == [f"<{text[start:stop]}>"]


def test_a_pattern_without_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="names no column"):
        rendered("galaxy.png", {"id": pl.Series(["a"])})


def keys(*rows: tuple[str, str | None]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=["id", "sample"], orient="row")


def written(folder: Path, text: str) -> Path:
    path = folder / "mapping.csv"
    path.write_text(text)
    return path


def test_the_mapping_is_found_by_all_its_keys(tmp_path: Path) -> None:
    path = written(tmp_path, "objid,sample,asset_id\n1,original,10\n1,stripe82,11\n2,original,12\n2,original,12\n")
    found = ImageMapping(BY_SAMPLE, path, ["asset_id"]).of(
        keys(("2", "original"), ("1", "stripe82"), ("1", None), ("3", "original"))
    )
    assert found["asset_id"].to_list() == ["12", "11", None, None]


def test_missing_columns_are_named_together(tmp_path: Path) -> None:
    path = written(tmp_path, "objids,asset\n1,2\n")
    with pytest.raises(MissingColumns, match=r"lacks 3 column") as caught:
        ImageMapping(BY_SAMPLE, path, ["asset_id"])
    assert "'objid' (did you mean objids?)" in str(caught.value)


def test_several_images_of_one_galaxy_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "objid,sample,asset_id\n1,original,10\n1,original,11\n")
    with pytest.raises(DuplicateIds, match="1 galaxies have several images"):
        ImageMapping(BY_SAMPLE, path, ["asset_id"])


def test_image_numbers_that_met_a_float_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "objid,sample,asset_id\n1,original,10.0\n")
    with pytest.raises(LossyIds, match="written as floats"):
        ImageMapping(BY_SAMPLE, path, ["asset_id"])
