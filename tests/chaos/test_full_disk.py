"""A disk that fills up in the middle of a stage: an error that says so, and after room was made the same result."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gzflow.settings import Settings
from tests.chaos.conftest import TROUBLE, Nursery

TRIALS = 12
PAGE = 4096


class SmallDisk:
    """A file system in memory whose size can be changed while it is used."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def resize(self, size: int) -> None:
        """Give it so many bytes."""
        subprocess.run(["mount", "-o", f"remount,size={max(PAGE, size)}", self.place], check=True)

    @property
    def used(self) -> int:
        """Bytes in use."""
        return shutil.disk_usage(self.place).used


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("a small disk is mounted by root, on Linux")
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256m", "none", place]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield SmallDisk(place)
    subprocess.run(["umount", "-l", place], check=True)


def fill_up(name: str, seed: int, stages: Callable, nursery: Nursery, services, disk: SmallDisk) -> bool:
    """One trial; whether the disk was full before the stage had ended."""
    stage, chance = stages(name), random.Random(f"{name} {seed}")
    home = disk.place / f"{name}-{seed}"
    shutil.copytree(stage.before, home)
    services.faults, before = TROUBLE, disk.used
    needs = sum(path.stat().st_size for path in stage.undisturbed.rglob("*") if path.is_file())
    disk.resize(before + int(chance.uniform(0.02, 0.9) * max(PAGE, needs - before)))
    # The log lies beside the home, where there must be room for it.
    log_home = disk.place.with_name(home.name)
    log_home.symlink_to(home)
    ended = nursery.run(stage.name, log_home, stage.words, may_fail=True)
    if full := ended.result is None:
        assert "disk is full" in ended.log or "No space left on device" in ended.log, ended.log
    disk.resize(256 * 2**20)
    assert nursery.run(stage.name, log_home, stage.words).result is not None
    stage.compare(Settings.load({}, home=log_home), f"after a full disk, seed {seed}")
    shutil.rmtree(home)
    return full


@pytest.mark.parametrize("name", ["ingest", "shard"])
def test_a_full_disk(name, stages, nursery, services, disk):
    fill_up(name, 0, stages, nursery, services, disk)


@pytest.mark.slow
def test_full_disks(stages, nursery, services, disk, record_property):
    full = sum(fill_up(("ingest", "shard")[n % 2], 1 + n, stages, nursery, services, disk) for n in range(TRIALS))
    record_property("kills", f"full disks: {full} of {TRIALS} stopped a stage in its work")
    assert full > TRIALS // 2
