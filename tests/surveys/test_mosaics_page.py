"""docs/mosaics.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from gzflow import load_survey
from gzflow.surveys.mosaic import Mosaic

PAGE = (Path(__file__).parents[2] / "docs" / "mosaics.md").read_text("utf-8")


def test_the_page_explains_every_key() -> None:
    assert [key for key in Mosaic.model_fields if f"`{key}`" not in PAGE] == []


def test_the_pages_survey_loads(tmp_path: Path) -> None:
    (tables,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "mysurvey.toml"
    path.write_text(
        '[survey]\nname = "mine"\n[catalog]\nid = "id"\nra = "ra"\ndec = "dec"\n'
        + tables
        + '[[question]]\nname = "ring"\nanswers = ["yes", "no"]\n'
    )
    survey = load_survey(path)
    assert survey.mosaic is not None
    assert tuple(survey.mosaic.bands) == ("g", "r", "z")
