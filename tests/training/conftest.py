from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from gzflow.recipe import ImageRecipe
from gzflow.shards.header import ShardHeader
from gzflow.shards.reader import ShardSet
from gzflow.shards.writer import begin_set, write_manifest, write_shard
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree(
    (
        Question("shape", ("round", "disk", "odd")),
        Question("bar", ("yes", "no"), ("shape=disk",)),
    )
)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As the subprocesses run: bit-equality holds for the same number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def toy_images(n: int, pixels: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(n, pixels, pixels, 3) blobs, and 1 where they are long."""
    long = rng.integers(0, 2, n)
    y, x = np.mgrid[:pixels, :pixels] - (pixels - 1) / 2
    angle = rng.uniform(0, np.pi, n)[:, None, None]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    width = pixels / 8
    blob = np.exp(-((along / width) ** 2 + (across / np.where(long, width / 3, width)[:, None, None]) ** 2) / 2)
    images = blob[..., None] * [200, 150, 90] + rng.normal(20, 5, (n, pixels, pixels, 3))
    return images.clip(0, 255).astype(np.uint8), long


def write_toy_set(
    folder: Path, counts: dict[str, int], *, pixels: int = 24, seed: int = 0, voters: int = 20
) -> ShardSet:
    """Galaxies whose volunteers say round or disk by their shape, and, of disks, whether there is a bar by a coin."""
    rng = np.random.default_rng(seed)
    begin_set(folder)
    entries = []
    header = None
    for split, n in counts.items():
        if n == 0:
            continue
        images, long = toy_images(n, pixels, rng)
        shape = np.stack(
            [rng.multinomial(voters, [0.08, 0.9, 0.02] if is_long else [0.9, 0.08, 0.02]) for is_long in long]
        )
        bar = np.stack([rng.multinomial(k, [0.3, 0.7]) for k in shape[:, 1]])
        header = ShardHeader(survey="toy", tree=TREE.to_dict(), recipe=ImageRecipe(pixels=pixels), split=split)
        half = n // 2 if n > 20 else 0  # two shards a split, where it pays
        for i, rows in enumerate(filter(len, (np.arange(half), np.arange(half, n)))):
            entries.append(
                write_shard(
                    folder / f"{split}-{i:05d}.h5",
                    header,
                    images=images[rows],
                    votes=np.concatenate([shape, bar], 1)[rows].astype(np.int32),
                    ids=[f"{split}-{k}" for k in rows],
                    ra=np.linspace(0, 10, n)[rows],
                    dec=np.zeros(len(rows)),
                    pixscale=np.ones(len(rows)),
                )
            )
    assert header is not None
    write_manifest(folder, header, entries)
    return ShardSet.open(folder)


@pytest.fixture(scope="session")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return write_toy_set(tmp_path_factory.mktemp("toy") / "shards", {"train": 96, "validation": 24, "test": 24})


@pytest.fixture(scope="session")
def make_set() -> Callable[..., ShardSet]:
    """`write_toy_set`."""
    return write_toy_set
