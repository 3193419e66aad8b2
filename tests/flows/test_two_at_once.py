"""Two runs that would write the same files: one waits for the other, and what is left is whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gzflow.shards.reader import ShardSet

pytestmark = pytest.mark.slow


def test_two_commands_shard_the_same_set(rings: Path, gzflow, home: Path) -> None:
    """Their shards differ in every byte and have the same names."""
    gzflow("ingest", rings / "rings.toml", "--catalog", rings / "labels.csv", "--images", rings / "images")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    environment |= {"GZFLOW_HOME": str(home), "COLUMNS": "200"}
    commands = [
        [sys.executable, "-m", "flows.cli", "shard", str(rings / "rings.toml"), "--pixels", "32", "--codec", codec]
        for codec in ("raw", "jpeg")
    ]
    both = [
        subprocess.Popen(command, env=environment, cwd=home.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for command in commands
    ]
    said = [process.communicate(timeout=200)[0].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    for lines in said:
        assert "40 done" in lines
    shards = ShardSet.open(home / "shards" / "rings" / "32px")
    shards.verify()
    assert shards.n() == 40
    assert len({reader.header.codec for reader in shards.readers()}) == 1
