"""Exports that no well-meaning server writes, and commands that contradict themselves: refused or listed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import polars as pl
import pytest

from gzflow.errors import CatalogError, EmptyCatalog, SettingsError
from gzflow.stages.votes import count_votes
from tests.catalog.zooniverse.exports import RINGS, TASKS, answered, row, subjects, write

SMOOTH = answered(T0="Smooth")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rings.toml").write_text(RINGS)
    (tmp_path / "tasks.toml").write_text(TASKS)
    return tmp_path


def count(folder: Path, export: Path, out: str = "votes.csv", **options):
    options = {"tasks": folder / "tasks.toml", **options}
    return count_votes(export, str(folder / "rings.toml"), folder / out, **options)


@pytest.mark.parametrize("role", ["export", "catalog", "subjects"])
def test_a_file_that_is_read_is_not_written_over(folder: Path, role: str) -> None:
    export = write(folder / "export.csv", [row(1, 100, SMOOTH)])
    catalog = folder / "catalog.csv"
    catalog.write_text("name,redshift\nJ100,0.1\n")
    given = {"export": export, "catalog": catalog, "subjects": subjects(folder / "s.csv", {100: {"!iauname": "J100"}})}
    before = given[role].read_bytes()
    (folder / "link.csv").symlink_to(given[role])
    for out in (given[role].name, f"../{folder.name}/{given[role].name}", "link.csv"):
        with pytest.raises(SettingsError, match="would be overwritten"):
            count(folder, export, out, catalog=catalog, subjects=given["subjects"])
    assert given[role].read_bytes() == before


def test_numbers_that_no_database_has_are_listed_as_unreadable(folder: Path) -> None:
    rows = [
        row(1, 100, SMOOTH),
        row(2**70, 100, SMOOTH),
        row(3, 2**66, SMOOTH),
        row(4, 100, SMOOTH, workflow_id=2**40),
        row(5, 100, SMOOTH, workflow_version=f"{2**40}.1"),
        row(6, 100, SMOOTH, classification_id="²"),
        row(7, 100, SMOOTH, subject_ids="9" * 5000),
        row(8, 100, SMOOTH, subject_ids="100;101"),
        row(9, 100, "[" * 100_000 + "]" * 100_000),
    ]
    summary = count(folder, write(folder / "export.csv", rows))
    assert summary.n_counted == 1
    assert summary.rows_left_out == {"unreadable": 7, "several-subjects": 1}
    with pytest.raises(CatalogError, match="not guessed"):
        count(folder, folder / "export.csv", "deep/er/votes.csv", tasks=None)
    assert "versions = [28]" in (folder / "deep/er/votes.tasks.toml").read_text()


def test_metadata_that_are_no_cells_are_kept_as_text(folder: Path) -> None:
    odd = {"!iauname": "J1", "redshift": {"phot": 0.1}, "ra": [1, 2], "dec": "x"}
    rows = [row(1, 100, SMOOTH, about=odd), row(2, 101, SMOOTH)]
    for out in ("votes.csv", "votes.parquet"):
        summary = count(folder, write(folder / "export.csv", rows), out)
        table = pl.read_csv(summary.file) if out.endswith("csv") else pl.read_parquet(summary.file)
        assert json.loads(table["redshift"][0]) == {"phot": 0.1}
        assert table["dec"].to_list() == ["x", "-0.25"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_galaxy_that_the_catalog_does_not_know_keeps_its_subjects_position(folder: Path, suffix: str) -> None:
    table = pl.DataFrame({"name": ["J100"], "ra": [200.5], "redshift": [0.1]})
    catalog = folder / f"catalog{suffix}"
    table.write_csv(catalog) if suffix == ".csv" else table.write_parquet(catalog)
    export = write(folder / "export.csv", [row(1, 100, SMOOTH), row(2, 101, SMOOTH)])
    summary = count(folder, export, catalog=catalog)
    found = {entry["name"]: entry for entry in csv.DictReader(summary.file.read_text().splitlines())}
    assert [(found[name]["ra"], found[name]["dec"]) for name in ("J100", "J101")] == [
        ("200.5", "-0.25"),
        ("10.5", "-0.25"),
    ]
    assert summary.unknown == ("J101",)


def test_an_export_without_rows_says_so(folder: Path) -> None:
    with pytest.raises(EmptyCatalog, match="the export has no rows"):
        count(folder, write(folder / "export.csv", []))


def test_reductions_do_not_take_what_was_decided_before_them(folder: Path) -> None:
    reductions = folder / "question_reducer_1.csv"
    reductions.write_text("subject_id,workflow_id,task,reducer,data.smooth\n100,6122,T0,question_reducer,3\n")
    export = subjects(folder / "subjects.csv", {100: {"!iauname": "J100"}})
    with pytest.raises(SettingsError, match="decided when these reductions were made"):
        count(folder, reductions, subjects=export, keep="last")
    assert count(folder, reductions, subjects=export).n_votes == 3
