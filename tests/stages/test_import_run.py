"""Trainings that were done elsewhere come into MLflow, once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gzflow.errors import ShardError, TrainingError
from gzflow.settings import Settings
from gzflow.shards.reader import ShardSet
from gzflow.simulation.survey import SimulatedSurvey
from gzflow.stages import train
from gzflow.stages.import_run import import_run
from gzflow.tracking.client import connect
from gzflow.tracking.registry import Registry
from gzflow.training.config import TrainConfig
from gzflow.training.trainer import train as train_bare

CONFIG = TrainConfig(encoder="mobilenet_v3_small", epochs=2, batch_size=16, seed=1)
SIZES = {"train": 40, "validation": 10, "test": 14}


@pytest.fixture(scope="module")
def node(write_shards, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, train.TrainSummary]:
    """What a node without a server leaves: its shards, and its training's folder, moved after the fact."""
    root = tmp_path_factory.mktemp("node")
    survey = SimulatedSurvey.draw("decals", sum(SIZES.values()), 3, pixels=32)
    settings = Settings.load({}, home=root / "its-home")
    toml = str(survey.write(root / "simulated", "http://127.0.0.1:1", name="sim").toml)
    write_shards(settings, survey, toml, SIZES)
    summary = train.run_chunk(train.plan(toml, settings, pixels=None, config=CONFIG), settings)
    (root / "its-home").rename(root / "moved")
    return (
        root / "moved" / "shards" / "sim" / "32px",
        root / "moved" / "training" / "sim" / summary.folder.name,
        summary,
    )


@pytest.fixture(scope="module")
def bare(node: tuple[Path, Path, train.TrainSummary], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python -m gzflow.training` leaves."""
    folder = tmp_path_factory.mktemp("bare") / "run"
    train_bare(ShardSet.open(node[0]), CONFIG.model_copy(update={"seed": 2, "epochs": 1}), folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.load({}, home=tmp_path_factory.mktemp("home"))


def state(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_a_scored_run_needs_nothing_but_its_folder(node, home: Settings) -> None:
    _, folder, there = node
    before = state(folder)
    here = import_run(folder, home)
    assert state(folder) == before
    assert (here.alias, here.version, here.reused) == ("champion", "1", False)
    assert (here.loss, here.constant, here.n_test, here.n_leaked) == (
        there.loss, there.constant, there.n_test, there.n_leaked,
    )  # fmt: skip
    assert here.run_id != there.run_id
    registry = Registry(home)
    run = registry.client.get_run(here.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["epochs"] == "2"
    assert run.data.params["galaxies.test"] == str(SIZES["test"])
    assert run.data.tags["gzflow.imported"] == there.run_id
    assert run.data.tags["gzflow.shard_fingerprint"] == ShardSet.open(node[0]).fingerprint
    history = registry.client.get_metric_history(here.run_id, "val/loss")
    described = json.loads((folder / "training.json").read_text())
    assert [(one.step, one.value) for one in history] == [
        (epoch["epoch"], epoch["validation_loss"]) for epoch in described["history"]
    ]
    theirs = connect(Settings.load({}, home=folder.parents[2])).get_run(there.run_id)
    assert set(run.data.metrics) == set(theirs.data.metrics)
    assert run.data.metrics["test/nll"] == theirs.data.metrics["test/nll"]
    files = {file.path for kind in ("", "figures") for file in registry.client.list_artifacts(here.run_id, kind)}
    assert {"galaxies.parquet", "scores.parquet", "history.json", "figures/reliability.png"} <= files
    assert (registry.champion("sim").folder / "model.safetensors").read_bytes() == (
        folder / "model" / "model.safetensors"
    ).read_bytes()


def test_twice_is_once(node, home: Settings) -> None:
    first, again = import_run(node[1], home), import_run(node[1], home)
    assert again.reused
    assert (again.run_id, again.version) == (first.run_id, first.version)
    client = connect(home)
    experiment = client.get_experiment_by_name("gzflow-sim").experiment_id
    runs = [run for run in client.search_runs([experiment]) if run.data.tags["gzflow.imported"] == node[2].run_id]
    assert len(runs) == 1


def test_a_bare_run_is_scored_here_if_its_shards_are(node, bare: Path, home: Settings) -> None:
    with pytest.raises(ShardError, match=r"never scored(.|\n)*--shards"):
        import_run(bare, home)
    other = import_run(node[1], home)
    summary = import_run(bare, home, shards=node[0])
    assert (summary.alias, summary.n_test) == ("challenger", SIZES["test"])
    assert summary.version != other.version
    assert not (bare / "result.json").exists()
    shutil.copytree(node[0], home.shards("sim", 32))
    assert import_run(bare, home).reused


def test_shards_of_another_training_are_refused(bare: Path, node, write_shards, tmp_path: Path) -> None:
    settings = Settings.load({}, home=tmp_path / "else")
    survey = SimulatedSurvey.draw("decals", sum(SIZES.values()), 4, pixels=32)
    toml = str(survey.write(tmp_path / "simulated", "http://127.0.0.1:1", name="sim").toml)
    write_shards(settings, survey, toml, SIZES)
    with pytest.raises(ShardError, match="fingerprint"):
        import_run(bare, settings, shards=settings.shards("sim", 32))


def test_what_is_no_finished_run_is_refused(bare: Path, tmp_path: Path, home: Settings) -> None:
    with pytest.raises(TrainingError, match=r"no training run(.|\n)*not the one above it"):
        import_run(tmp_path, home)
    shutil.copytree(bare, tmp_path / "half")
    described = json.loads((tmp_path / "half" / "training.json").read_text())
    (tmp_path / "half" / "training.json").write_text(json.dumps(described | {"finished": False}))
    with pytest.raises(TrainingError, match="not finished: 1 epochs are"):
        import_run(tmp_path / "half", home)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"shards": None}, "shards"),
        ({"n_train": None}, "n_train"),
        ({"history": []}, "history"),
        ({"best_epoch": 9}, "there is no epoch 9"),
        ({"shards": {"folder": "f", "survey": "sim", "fingerprint": "../../x"}}, "shards.fingerprint"),
        ({"shards": {"folder": "f", "survey": "../x", "fingerprint": "0" * 16}}, "shards.survey"),
    ],
)
def test_a_damaged_description_is_refused_and_nothing_is_made(
    bare: Path, tmp_path: Path, change: dict[str, object], problem: str
) -> None:
    shutil.copytree(bare, tmp_path / "odd")
    path = tmp_path / "odd" / "training.json"
    described = json.loads(path.read_text()) | change
    path.write_text(json.dumps({name: value for name, value in described.items() if value is not None}))
    settings = Settings.load({}, home=tmp_path / "home")
    with pytest.raises(TrainingError, match=rf"damaged(.|\n)*{problem}(.|\n)*to fix"):
        import_run(tmp_path / "odd", settings)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["odd"]


@pytest.mark.slow
def test_killed_at_any_instant_and_again_it_is_there_once(node, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gzflow.settings import Settings\n"
        "from gzflow.stages.import_run import import_run\n"
        "print('go', flush=True)\n"
        "print(import_run(Path(sys.argv[1]), Settings.load({}, home=sys.argv[2])).version)\n"
    )
    settings = Settings.load({}, home=tmp_path / "home")
    connect(settings)
    command = [sys.executable, "-c", code, str(node[1]), str(settings.home)]
    for wait in (0.3, 0.8, 1.5, 2.5, 4.0):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as one:
            assert one.stdout is not None
            one.stdout.readline()
            time.sleep(wait)
            one.kill()
    summary = import_run(node[1], settings)
    client = connect(settings)
    experiment = client.get_experiment_by_name("gzflow-sim").experiment_id
    (run,) = client.search_runs([experiment])
    assert (run.info.run_id, run.info.status) == (summary.run_id, "FINISHED")
    assert len(client.search_model_versions("name = 'gzflow-sim'")) == 1
    assert len(client.search_logged_models([experiment])) == 1
    assert [one.step for one in client.get_metric_history(summary.run_id, "train/loss")] == [0, 1]
