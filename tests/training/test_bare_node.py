"""`python -m gzflow.training`: the compute core alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gzflow.errors import SettingsError
from gzflow.model.morphology import Morphology
from gzflow.shards.reader import ShardSet
from gzflow.training.__main__ import read_config
from gzflow.training.config import FineTuneConfig, TrainConfig

RIM = ("mlflow", "prefect", "polars", "sqlalchemy", "typer", "pandas", "astropy")


def test_options_are_read_as_a_user_writes_them() -> None:
    entries = ["epochs=20", "encoder=resnet18", "batch_size=auto", "zoom=[0.8, 1.2]", "compile=true"]
    expected = TrainConfig(epochs=20, encoder="resnet18", zoom=(0.8, 1.2), compile=True)
    assert read_config(entries) == expected
    assert isinstance(read_config(["blocks=all"], FineTuneConfig), FineTuneConfig)


def test_all_that_is_wrong_with_options_is_said_at_once() -> None:
    with pytest.raises(SettingsError, match=r"epochs: (.|\n)*encoderr: (.|\n)*epochs = 20"):
        read_config(["epochs=0", "encoderr=resnet18"])
    with pytest.raises(SettingsError, match="'epochs' is not NAME=VALUE"):
        read_config(["epochs"])


@pytest.mark.slow
def test_a_bare_node_trains_is_stopped_and_goes_on(toy_set: ShardSet, tmp_path: Path) -> None:
    """Where importing anything of the rim fails."""
    for name in RIM:
        (tmp_path / "site").mkdir(exist_ok=True)
        (tmp_path / "site" / f"{name}.py").write_text(f"raise ImportError('a bare node has no {name}')\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    options = ("encoder=mobilenet_v3_small", "batch_size=16", "epochs=10")

    def command(*arguments: str | Path) -> list[str]:
        return [sys.executable, "-u", "-m", "gzflow.training", *map(str, arguments)]

    first = command(toy_set.folder, tmp_path / "run", "--set", *options)
    with subprocess.Popen(first, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "epoch 2:" in line:
                break
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
    assert process.returncode == 143
    assert "run the same command again" in said
    again = subprocess.run(first, capture_output=True, text=True, env=environment, check=True, timeout=200)
    assert "going on after" in again.stderr
    assert "epoch 1:" not in again.stderr
    assert "best epoch" in again.stderr
    assert Morphology.load(tmp_path / "run" / "model").spec.survey == "toy"
    wrong = subprocess.run(
        command(tmp_path / "nowhere", tmp_path / "run"), capture_output=True, text=True, env=environment, check=False
    )
    assert wrong.returncode == 2
    assert "there is no set of shards" in wrong.stderr
    assert "Traceback" not in wrong.stderr
