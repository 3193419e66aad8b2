"""`gzflow finetune` and its flow, as a user meets them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gzflow.settings import Settings
from gzflow.simulation.survey import SimulatedSurvey

SIZES = {"train": 40, "validation": 10, "test": 14}


@pytest.fixture(scope="module")
def surveys(home: Path, write_shards) -> dict[str, str]:
    """TOMLs of a DECaLS-like and a Hubble-like survey that have shards of 32 px."""
    found = {}
    for base, name in (("decals", "near-sky"), ("hubble", "far-sky")):
        survey = SimulatedSurvey.draw(base, sum(SIZES.values()), 5, pixels=32)
        found[name] = str(survey.write(home.parent / name, "http://127.0.0.1:1", name=name).toml)
        write_shards(Settings.load({}, home=home), survey, found[name], SIZES)
    return found


@pytest.fixture(scope="module")
def arguments(gzflow, surveys) -> tuple[str, ...]:
    """What fine-tunes the champion of the near sky."""
    gzflow("train", surveys["near-sky"], "--epochs", "1", "--encoder", "mobilenet_v3_small")
    return (
        "finetune", surveys["far-sky"], "--from", "near-sky", "--epochs", "2", "--blocks", "1", "--lr", "0.001",
        "--label-counts", "15",
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(gzflow, arguments):
    return gzflow(*arguments)


@pytest.mark.slow
def test_a_champion_is_fine_tuned_from_the_command_line(done, home: Path):
    for words in ("gzflow-far-sky version 1 (champion)", "models:/gzflow-near-sky/1", "from scratch", "learning curve"):
        assert words in done.stdout
    assert "finetuned, all labels, seed 42: epoch 2" in done.stderr
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        pages = [page for (page,) in database.execute("select data from artifact where type = 'markdown'")]
        kinds = {kind for (kind,) in database.execute("select type from artifact where key like 'finetune%'")}
        trainings = database.execute("select count(*) from task_run where name like '%labels, seed%'").fetchone()
    (page,) = (page for page in pages if "Fine-tuned model for far-sky" in page)
    for words in ("0 were left out", "| scratch |", "data:image/png;base64", "constant"):
        assert words in page
    assert {"progress", "table", "markdown"} <= kinds
    assert trainings == (4,)


@pytest.mark.slow
def test_the_same_command_again_finds_it_done(done, gzflow, arguments):
    again = gzflow(*arguments)
    assert "this fine-tune was done before" in again.stderr
    assert again.stdout.splitlines()[0] == done.stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--label-counts", "9,9"], "named twice"),
        (["--blocks", "some"], "--blocks all for the whole encoder"),
        ([], "gzflow shard hubble"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_is_refused_before_anything_starts(arguments, words, gzflow):
    done = gzflow("finetune", "hubble", *arguments, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_form_refuses_bad_values_and_explains_each():
    from prefect.exceptions import ParameterTypeError

    from flows.finetune import finetune

    fields = finetune.parameters.properties
    assert all(fields[name].get("description") for name in fields)
    finetune.validate_parameters({"survey": "hubble", "config": {"blocks": "all"}, "label_counts": [50, 200]})
    for wrong in (
        {"seeds": 0}, {"label_counts": [0]}, {"pixels": 8}, {"config": {"lr": -1}}, {"config": {"block": 3}},
    ):  # fmt: skip
        with pytest.raises(ParameterTypeError):
            finetune.validate_parameters({"survey": "hubble"} | wrong)
