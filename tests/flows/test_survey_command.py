"""`gzflow survey tree | check | new` as a user types them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from gzflow import load_survey
from gzflow.errors import SettingsError

RINGS = "id_str,file,ring_yes,ring_no,arms_total,arms_1,arms_2\n" + "".join(
    f"g{i},{i}.png,{yes},{5 - yes},{yes},{min(yes, 1)},{yes - min(yes, 1)}\n" for i, yes in enumerate((0, 3, 5, 1))
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GZFLOW_HOME", str(tmp_path / "home"))
    (tmp_path / "my galaxies.csv").write_text(RINGS)
    return tmp_path


def run(*arguments: str, typed: str | None = None) -> str:
    done = CliRunner().invoke(app, ["survey", *arguments], input=typed, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_tree_of_a_shipped_survey_is_drawn_without_torch_or_prefect(gzflow, tmp_path: Path) -> None:
    said = gzflow("survey", "tree", "gz2", "--out", tmp_path / "tree.svg").stdout
    assert "tree.svg" in said
    assert (tmp_path / "tree.svg").read_bytes().startswith(b"<?xml")
    program = (
        "import sys; from typer.testing import CliRunner; from flows.cli import app\n"
        "CliRunner().invoke(app, ['survey', 'check', 'decals'], catch_exceptions=False)\n"
        "assert not {'torch', 'prefect', 'mlflow'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_from_a_table_to_a_survey_that_reads_it(folder: Path) -> None:
    # Counts with a total and labels without one are two forms, and a survey has one pattern for all its questions.
    said = run("new", "my galaxies.csv", "--no-ask")
    assert "survey  my-galaxies.toml" in said
    text = Path("my-galaxies.toml").read_text()
    assert "another form" in text
    said = run("check", "my-galaxies.toml", "--catalog", "my galaxies.csv")
    assert "my-galaxies is a valid survey" in said
    assert "of the first 4 rows: 4 galaxies, 0 left out by the filter, 0 failed" in said
    assert "next: gzflow ingest my-galaxies.toml --catalog 'my galaxies.csv'" in said
    assert Path("my-galaxies-tree.svg").is_file()


def test_what_a_person_answers_stands_in_the_file(folder: Path) -> None:
    table = folder / "bars.csv"
    rows = ["objid,name,disk_yes,disk_no,disk_total,bar_yes,bar_no,bar_total"]
    rows += [f"{i},n{i},{yes},{6 - yes},6,{yes // 2},{yes - yes // 2},{yes}" for i, yes in enumerate((2, 4, 6, 0))]
    table.write_text("\n".join(rows))
    said = run("new", "bars.csv", "--ask", typed="bars\nBars by eye\n\nname\nx\ny\n-\n\n")
    assert "after which answers is each question asked?" in said
    survey = load_survey(folder / "bars.toml")
    assert (survey.about.title, survey.catalog.id, survey.catalog.ra, survey.catalog.dec) == (
        "Bars by eye",
        "name",
        "x",
        "y",
    )
    assert survey.tree.questions[0].asked_after == ()
    assert survey.tree.questions[1].asked_after == ("disk=yes",)  # as proposed


def test_what_is_not_known_is_listed_and_the_file_is_kept(folder: Path) -> None:
    Path("odd.csv").write_text("a,b\n1.5,2\n")
    said = run("new", "odd.csv", "--no-ask")
    assert "it does not load yet" in said
    assert "catalog.id: missing" in said
    with pytest.raises(SettingsError, match="the file exists"):
        run("new", "odd.csv", "--no-ask")


def test_a_known_table_is_named(folder: Path, shared_data: Path) -> None:
    table = shared_data / "gz_samples/galaxy_zoo_decals/gz_decals_volunteers_5.csv"
    said = run("new", str(table), "--no-ask", "--out", "mine.toml")
    assert "the table has all columns of decals" in said
    assert load_survey("mine.toml").tree == load_survey("decals").tree


def test_checking_a_shipped_survey_draws_only_on_demand(folder: Path) -> None:
    said = run("check", "kaggle")
    assert "something-odd   (after any answer to " in said
    assert "odd-feature   (after something-odd = yes)" in said
    assert list(folder.glob("*.svg")) == []
    run("check", "kaggle", "--picture", "tree.png")
    assert Path("tree.png").read_bytes().startswith(b"\x89PNG")


def test_only_pictures_of_these_kinds(folder: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be drawn"):
        run("tree", "gz2", "--out", "tree.gif")


def test_a_check_hands_its_own_options_on_and_refuses_those_that_it_cannot_read(folder: Path) -> None:
    (folder / "sizes.csv").write_text("id_str,size\ng0,1\n")
    (folder / "mine.toml").write_text(
        '[survey]\nname = "mine"\n[catalog]\nid = "id_str"\ncarry = ["size"]\n[[catalog.join]]\ntable = "sizes"\n'
        'on = "id_str"\n[catalog.votes]\ncount = "{question}_{answer}"\n'
        '[[question]]\nname = "ring"\nanswers = ["yes", "no"]\n'
    )
    said = run("check", "mine.toml", "--catalog", "my galaxies.csv", "--join", "sizes=sizes.csv")
    assert "--join sizes=sizes.csv" in " ".join(said.split())
    with pytest.raises(SettingsError, match="read beside a catalog"):
        run("check", "mine.toml", "--join", "sizes=sizes.csv")
    (folder / "tree.svg").mkdir()
    with pytest.raises(SettingsError, match="a folder has the picture's name"):
        run("tree", "mine.toml", "--out", "tree.svg")
