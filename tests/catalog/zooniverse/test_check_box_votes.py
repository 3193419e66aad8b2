"""Check boxes in an export: each box has a yes or a no of every volunteer who was shown it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from gzflow.catalog.votes import whole_votes
from gzflow.errors import SurveyError
from gzflow.stages.votes import VotesSummary, count_votes
from gzflow.surveys import load_survey
from tests.catalog.zooniverse.exports import answered, row, subjects, write

SURVEY = """
[survey]
name = "rare"
[catalog]
id = "name"
image = "file"
[catalog.votes]
count = "{question}_{answer}"
total = "{question}_total"
[[question]]
name = "odd"
answers = ["yes", "no"]
[[question]]
name = "feature"
answers = ["ring", "dust_lane", "none"]
multiple_choice = true
asked_after = ["odd=yes"]
"""
TASKS = """
id = "!iauname"
[[task]]
workflow = 6122
task = "T0"
question = "odd"
answers = { Yes = "yes", No = "no" }
[[task]]
workflow = 6122
task = "T1"
question = "feature"
answers = { Ring = "ring", "Dust lane" = "dust_lane", None = "none", Bird = "" }
"""
TOTAL = 'total = "{question}_total"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rare.toml").write_text(SURVEY)
    (tmp_path / "tasks.toml").write_text(TASKS)
    return tmp_path


def count(folder: Path, export: Path, **options: Any) -> tuple[VotesSummary, dict[str, Any]]:
    options = {"tasks": folder / "tasks.toml", **options}
    summary = count_votes(export, str(folder / "rare.toml"), folder / "votes.parquet", **options)
    (entry,) = pl.read_parquet(summary.file).to_dicts()
    return summary, entry


def clicks(*ticked: Any) -> list[dict[str, Any]]:
    return [row(k, 100, answered(T0="Yes", T1=value)) for k, value in enumerate(ticked, start=1)]


def test_each_box_is_answered_by_everyone_who_saw_it(folder: Path) -> None:
    rows = clicks(["Ring", "**Dust lane**"], ["Ring"], [], "None", ["Bird"])
    rows += [row(9, 100, answered(T0="No"))]
    _, votes = count(folder, write(folder / "export.csv", rows))
    assert votes == {
        "name": "J100", "odd_yes": 5, "odd_no": 1, "feature_ring": 2, "feature_dust_lane": 1, "feature_none": 1,
        "odd_total": 6, "feature_total": 5, "file": None, "classifications": 6,
    }  # fmt: skip
    table = whole_votes(load_survey(str(folder / "rare.toml")), pl.DataFrame([votes]), where="votes")
    assert table.problems == ()
    assert table.counts.tolist() == [[5, 1, 2, 3, 1, 4, 1, 4]]


def test_what_no_box_is_known_to_have_is_listed(folder: Path) -> None:
    rows = clicks(["Ring", "Lens"], None, [{"x": 1.5}], ["Ring"])
    rows += [row(9, 100, answered(T0="Yes", T1=["Ring"]) + answered(T1=["None"]))]
    summary, votes = count(folder, write(folder / "export.csv", rows))
    assert summary.answers_left_out == {"unknown-answer": 1, "no-answer": 1, "not-a-question": 1, "answered-twice": 1}
    assert (votes["feature_ring"], votes["feature_none"], votes["feature_total"]) == (1, 1, 2)
    assert votes["odd_total"] == 5


def test_fractions_are_ticks_over_those_who_saw_the_boxes(folder: Path) -> None:
    (folder / "rare.toml").write_text(SURVEY.replace("count =", "fraction ="))
    _, votes = count(folder, write(folder / "export.csv", clicks(["Ring", "Dust lane"], ["Ring"], [], [])))
    assert (votes["feature_ring"], votes["feature_dust_lane"], votes["feature_total"]) == (0.5, 0.25, 4)


def test_one_total_of_all_votes_has_the_ticks_in_it(folder: Path) -> None:
    (folder / "rare.toml").write_text(SURVEY.replace(TOTAL, 'total = "votes"\n'))
    _, votes = count(folder, write(folder / "export.csv", clicks(["Ring", "Dust lane"], [])))
    assert votes["votes"] == 4
    table = whole_votes(load_survey(str(folder / "rare.toml")), pl.DataFrame([votes]), where="votes")
    assert table.problems == ()
    assert table.counts[0].tolist() == [2, 0, 1, 1, 1, 1, 0, 2]


@pytest.mark.parametrize("ticked", [(["Ring"], []), ([], [])], ids=["one", "none at all"])
def test_the_same_names_need_no_tasks_file(folder: Path, ticked: tuple[list[str], ...]) -> None:
    rows = [
        row(
            k,
            100,
            [
                {"task": "T0", "task_label": "Odd", "value": "Yes"},
                {"task": "T1", "task_label": "Feature", "value": value},
            ],
            about={"#gzflow_id": "a"},
        )
        for k, value in enumerate(ticked, start=1)
    ]
    _, votes = count(folder, write(folder / "export.csv", rows), tasks=None)
    assert (votes["feature_ring"], votes["feature_total"]) == (len(ticked[0]), 2)


def test_reductions_count_ticks_but_not_who_saw_the_boxes(folder: Path) -> None:
    reductions = folder / "question_reducer.csv"
    reductions.write_text(
        "subject_id,workflow_id,task,reducer,data.yes,data.no,data.ring,data.dust-lane\n"
        "100,6122,T0,question_reducer,7,3,,\n100,6122,T1,question_reducer,,,5,4\n"
    )
    about = subjects(folder / "subjects.csv", {100: {"!iauname": "J100"}})
    with pytest.raises(SurveyError, match="how many volunteers saw the check boxes"):
        count(folder, reductions, subjects=about)
    (folder / "rare.toml").write_text(SURVEY.replace(TOTAL, ""))
    _, votes = count(folder, reductions, subjects=about)
    survey = load_survey(str(folder / "rare.toml"))
    table = whole_votes(survey, pl.DataFrame([votes]), where="votes")
    np.testing.assert_array_equal(table.counts, [[7, 3, 5, 2, 4, 3, 0, 7]])
