"""A home on a full disk: said at once, in words that name the disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.console import UNREACHABLE, explained_errors


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 64 KiB."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("a small disk is mounted by root, on Linux")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield tmp_path / "home"
    subprocess.run(["umount", "-l", tmp_path], check=True)


def test_a_command_does_not_wait_for_a_server_that_cannot_be(rings: Path, full: Path) -> None:
    words = ["ingest", rings / "rings.toml", "--catalog", rings / "labels.csv", "--images", rings / "images"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *map(str, words)],
        capture_output=True, text=True, check=False, timeout=250, env=environment | {"GZFLOW_HOME": str(full)},
    )  # fmt: skip
    assert done.returncode == 2
    assert f"DiskError: the disk is full\n  where: {full}" in done.stderr
    assert "free space there, or choose a folder on another disk" in done.stderr


@pytest.mark.parametrize("said", UNREACHABLE, ids=["unreachable", "timed out"])
def test_a_server_that_the_full_disk_ended_is_not_blamed(
    said: str, full: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GZFLOW_HOME", str(full))
    with pytest.raises(SystemExit), explained_errors():
        raise RuntimeError(said)
    assert "the disk is full" in capsys.readouterr().err
