from __future__ import annotations

import re
from pathlib import Path

import pytest

from gzflow import load_survey, survey_names
from gzflow.recipe import RECIPES, SERVICES
from gzflow.surveys.survey import About, Archive, Catalog, CutoutSpec, Image, QuestionEntry, VoteColumns

PAGE = (Path(__file__).parents[2] / "docs" / "surveys.md").read_text("utf-8")


@pytest.mark.parametrize("section", [About, Catalog, VoteColumns, QuestionEntry, CutoutSpec, Archive, Image])
def test_the_page_explains_every_key(section) -> None:
    unknown = [key for key in section.model_fields if not re.search(rf"[`.]{key}[`\]]", PAGE)]
    assert unknown == []


def test_the_page_names_every_survey_service_and_recipe() -> None:
    assert [name for name in (*survey_names(), *SERVICES, *RECIPES) if f"`{name}`" not in PAGE] == []


def test_the_page_counts_questions_and_answers_right() -> None:
    for name in survey_names():
        tree = load_survey(name).tree
        (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"| {len(tree.questions)}, {len(tree.answers)} |" in line


@pytest.mark.parametrize("number", range(2))
def test_the_pages_own_surveys_load(number: int, tmp_path: Path) -> None:
    text = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[number]
    path = tmp_path / "survey.toml"
    path.write_text(text)
    assert load_survey(path).name in {"rings", "gz2-extra"}
