"""`gzflow train --members`, as a user meets it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gzflow.settings import Settings
from gzflow.simulation.survey import SimulatedSurvey

SIZES = {"train": 40, "validation": 10, "test": 14}


@pytest.mark.slow
def test_an_ensemble_is_trained_from_the_command_line(gzflow, home: Path, write_shards):
    survey = SimulatedSurvey.draw("decals", sum(SIZES.values()), 5, pixels=32)
    toml = str(survey.write(home.parent / "members", "http://127.0.0.1:1", name="members-sky").toml)
    write_shards(Settings.load({}, home=home), survey, toml, SIZES)
    done = gzflow("train", toml, "--epochs", "1", "--encoder", "mobilenet_v3_small", "--members", "2", "--no-evaluate")
    assert "gzflow-members-sky version 1 (champion), an ensemble of 2: test NLL" in " ".join(done.stdout.split())
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        trainings = database.execute("select name from task_run where name like 'seed4_-mobilenet%'").fetchall()
        (evaluations,) = database.execute("select count(*) from task_run where name like 'evaluate%'").fetchone()
        (table,) = database.execute("select data from artifact where key = 'train-members'").fetchone()
    assert evaluations == 0
    assert sorted(name[:6] for (name,) in trainings) == ["seed42", "seed43"]
    for words in ("one pass, no dropout", "dropout samples", "one pass of each member", "the ensemble"):
        assert words in table


def test_no_ensemble_of_thousands(gzflow):
    done = gzflow("train", "decals", "--members", "2000", check=False)
    assert done.returncode == 2
    assert "--members" in done.stderr
