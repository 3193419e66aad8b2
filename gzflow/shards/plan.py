"""Which galaxies go into which shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gzflow.errors import ShardError
from gzflow.shards.header import SHARD_SIZE, SPLITS, Split


@dataclass(frozen=True)
class ShardPlan:
    """One shard to be written: its file name, its split, and the positions of its galaxies in the input."""

    file: str
    split: Split
    rows: NDArray[np.int64]


def plan_shards(splits: Sequence[str], size: int = SHARD_SIZE) -> list[ShardPlan]:
    """Shards for galaxies in the given order: train first, then validation, then test.

    Every galaxy stands in exactly one plan. The same input gives the same plan, so a rerun finds its own shards.

    Parameters
    ----------
    splits
        One of ``train``, ``validation``, ``test`` a galaxy.
    size
        Most galaxies a shard, at most `SHARD_SIZE`.

    Raises
    ------
    ShardError
        An unknown split, or a size that no shard can have.
    """
    names = np.asarray(splits, dtype=str)
    unknown = sorted(set(names.tolist()) - set(SPLITS))
    if unknown or not 1 <= size <= SHARD_SIZE:
        raise ShardError(
            "shards cannot be planned",
            problems=[f"unknown split {name!r}" for name in unknown]
            + ([] if 1 <= size <= SHARD_SIZE else [f"{size} galaxies a shard"]),
            expected=f"splits {', '.join(SPLITS)}; 1 to {SHARD_SIZE} galaxies a shard",
        )
    plans = []
    for split in SPLITS:
        rows = np.flatnonzero(names == split)
        for number, start in enumerate(range(0, len(rows), size)):
            plans.append(ShardPlan(f"{split}-{number:05d}.h5", split, rows[start : start + size]))
    return plans
