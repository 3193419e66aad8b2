"""kill -9 while shards are written: whatever has its name is whole, and a rerun completes the same set."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gzflow.errors import ShardError
from gzflow.shards import ShardReader, ShardSet

WRITER = """
import sys
from pathlib import Path
import numpy as np
from gzflow.recipe import ImageRecipe
from gzflow.shards import ShardHeader, begin_set, plan_shards, reusable, write_manifest, write_shard

folder = Path(sys.argv[1])
rng = np.random.default_rng(7)
n = 600
splits = rng.permutation(["train"] * 400 + ["validation"] * 60 + ["test"] * 140)
images = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
votes = rng.integers(0, 40, (n, 2))
nowhere = np.full(n, np.nan)
print("ready", flush=True)
begin_set(folder)
entries = []
for plan in plan_shards(splits, size=30):
    header = ShardHeader(
        survey="toy", tree=[{"name": "ring", "answers": ["yes", "no"]}], recipe=ImageRecipe(pixels=32),
        split=plan.split, source_fingerprint="v1",
    )
    ids = [f"g{row}" for row in plan.rows]
    entry = reusable(folder / plan.file, header)
    if entry is None:
        rows = plan.rows
        entry = write_shard(
            folder / plan.file, header, images=images[rows], votes=votes[rows], ids=ids,
            ra=nowhere[rows], dec=nowhere[rows], pixscale=nowhere[rows],
        )
        print("wrote", plan.file, flush=True)
    entries.append(entry)
write_manifest(folder, header, entries)
"""


def start(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def finish(folder: Path) -> int:
    """Write to the end; returns how many shards were still to be written."""
    written, _ = start(folder).communicate(timeout=200)
    return written.count("wrote")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    folder = tmp_path_factory.mktemp("undisturbed") / "set"
    process = start(folder)
    began = time.monotonic()
    written, _ = process.communicate(timeout=200)
    assert written.count("wrote") == 21
    assert process.returncode == 0
    return contents(folder), time.monotonic() - began


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))])
def test_killed_and_run_again(tmp_path: Path, undisturbed: tuple[dict[str, bytes], float], seed: int) -> None:
    expected, duration = undisturbed
    folder, instant = tmp_path / "set", random.Random(seed)
    for _ in range(2):
        process = start(folder)
        time.sleep(instant.uniform(0, 0.8 * duration))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=200)
        for path in folder.glob("*.h5"):
            ShardReader(path).verify()
            assert path.read_bytes() == expected[path.name]
        if not (folder / "manifest.json").exists():
            with pytest.raises(ShardError, match=r"unfinished|there is no set"):
                ShardSet.open(folder)
    finished = len(list(folder.glob("*.h5")))
    assert finish(folder) == 21 - finished
    assert contents(folder) == expected
    ShardSet.open(folder).verify()
    assert finish(folder) == 0
    assert contents(folder) == expected
