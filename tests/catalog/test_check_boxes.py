"""Ticks on check boxes: how many volunteers saw a box is known from a total, or from the answers that lead there."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from gzflow import load_survey
from gzflow.catalog.votes import VoteTable, whole_votes

SURVEY = """
[survey]
name = "rare"
[catalog]
id = "id"
image = "file"
[catalog.votes]
VOTES
[[question]]
name = "odd"
answers = ["yes", "no"]
[[question]]
name = "feature"
answers = ["ring", "lens"]
multiple_choice = true
asked_after = ["odd=yes"]
"""
COUNT = 'count = "{question}_{answer}"'
TOTAL = '\ntotal = "{question}_total"'


def read(tmp_path: Path, votes: str, columns: dict[str, list[float | None]], more: str = "") -> VoteTable:
    path = tmp_path / "rare.toml"
    path.write_text(SURVEY.replace("VOTES", votes) + more, "utf-8")
    return whole_votes(load_survey(path), pl.DataFrame(columns), where="t.csv")


def test_those_who_came_that_far_saw_the_boxes(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        COUNT,
        {"odd_yes": [10, 0, 4], "odd_no": [5, 9, 0], "feature_ring": [7, 0, 0], "feature_lens": [8, 0, 0]},
    )
    assert found.problems == ()
    # yes and no: odd, ring, lens. Seven and eight of ten ticked, some of them both.
    assert found.counts.tolist() == [[10, 5, 7, 3, 8, 2], [0, 9, 0, 0, 0, 0], [4, 0, 0, 4, 0, 4]]


@pytest.mark.parametrize("form", ["count", "fraction"])
def test_a_total_of_their_own_counts_first(tmp_path: Path, form: str) -> None:
    given = {"odd_yes": 10.0, "odd_no": 5.0, "feature_ring": 3.0, "feature_lens": 2.0}
    total = {"odd_total": [15], "feature_total": [9]}
    if form == "fraction":
        given = {name: value / total[f"{name.split('_')[0]}_total"][0] for name, value in given.items()}
    found = read(tmp_path, COUNT.replace("count", form) + TOTAL, {k: [v] for k, v in given.items()} | total)
    assert found.counts.tolist() == [[10, 5, 3, 6, 2, 7]]


def test_more_ticks_than_volunteers_are_a_problem_of_that_row(tmp_path: Path) -> None:
    columns: dict[str, list[float | None]] = {
        "odd_yes": [3.0] * 9, "odd_no": [0.0] * 9, "feature_ring": [4.0] + [1.0] * 8, "feature_lens": [0.0] * 9,
    }  # fmt: skip
    found = read(tmp_path, COUNT, columns)
    assert found.problems == (
        (0, "votes-disagree", "feature: the box that was ticked most often has 4 votes, those who saw it are 3"),
    )
    assert found.counts[0].tolist() == [0] * 6
    dropped = read(tmp_path, COUNT, columns, more='off_total = "drop"')
    assert dropped.problems == ()
    assert dropped.counts[0].tolist() == [3, 0, 0, 0, 0, 0]
    assert dropped.counts[1].tolist() == [3, 0, 1, 2, 0, 3]
