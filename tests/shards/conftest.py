from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gzflow.recipe import ImageRecipe
from gzflow.shards import ShardHeader
from gzflow.shards.codec import encode_jpeg
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree(
    (
        Question("smooth-or-featured", ("smooth", "featured", "artifact")),
        Question("bar", ("yes", "no"), ("smooth-or-featured=featured",)),
    )
)


def header(**changes: Any) -> ShardHeader:
    pixels, channels = changes.pop("pixels", 17), changes.pop("channels", "RGB")
    values: dict[str, Any] = {
        "survey": "toy",
        "tree": TREE.to_dict(),
        "recipe": ImageRecipe(pixels=pixels, channels=channels),
        "split": "train",
        "source_fingerprint": "source",
    }
    return ShardHeader(**values | changes)


def galaxies(header: ShardHeader, n: int, seed: int = 0, prefix: str = "J") -> dict[str, Any]:
    """Keyword arguments of write_shard: noise images, every third galaxy without position."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, *header.image_shape), dtype=np.uint8)
    lost = np.arange(n) % 3 == 2
    return {
        "images": pixels if header.codec == "raw" else [encode_jpeg(image) for image in pixels],
        "votes": rng.integers(0, 40, (n, len(TREE.answers)), dtype=np.int32),
        "ids": [f"{prefix}{seed}-{number} ñ" for number in range(n)],
        "ra": np.where(lost, np.nan, rng.uniform(0, 360, n)),
        "dec": np.where(lost, np.nan, rng.uniform(-90, 90, n)),
        "pixscale": np.where(lost, np.nan, rng.uniform(0.1, 2, n)),
    }


@pytest.fixture(scope="session")
def make_header() -> Callable[..., ShardHeader]:
    return header


@pytest.fixture(scope="session")
def make_galaxies() -> Callable[..., dict[str, Any]]:
    return galaxies
