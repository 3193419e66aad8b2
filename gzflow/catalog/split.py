"""Which galaxies train, validate and test a model: decided by the sky, not by the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "validation", "test")
# Upper ends of each split's share of the hash's range: 70 %, 10 %, 20 %.
_ENDS = (0.7, 0.8, 1.0)


@dataclass(frozen=True)
class SplitAssignment:
    """Splits of n galaxies.

    Attributes
    ----------
    splits
        (n,) of ``train``, ``validation`` or ``test``.
    forced
        A split would have been empty, so that some galaxies were moved: the result then depends on the catalog.
    """

    splits: NDArray[np.str_]
    forced: bool


def assign(keys: Sequence[str], ids: Sequence[str]) -> SplitAssignment:
    """Train, validation or test for each galaxy, in the ratio 70 : 10 : 20.

    Galaxies with one key share a split, whatever the catalog, its order or its size: the split is a hash of the key.
    Only where a split of three or more galaxies would stay empty are the fewest possible galaxies moved, by the rank
    of their hashes; with fewer than three keys this parts galaxies of one key.

    Parameters
    ----------
    keys
        What must stay together: the sky cell, or the id of a galaxy without position.
    ids
        The galaxies' ids, which break ties.
    """
    if len(keys) != len(ids):
        raise ValueError(f"{len(keys)} keys for {len(ids)} ids")
    hashes = {key: _unit(key) for key in dict.fromkeys(keys)}
    chosen = {key: _natural(value) for key, value in hashes.items()}
    missing = [split for split in SPLITS if split not in chosen.values()]
    if not missing or len(set(ids)) < len(SPLITS):
        return SplitAssignment(np.array([chosen[key] for key in keys], dtype="U10"), forced=False)
    if len(hashes) >= len(SPLITS):
        _fill(chosen, hashes)
        return SplitAssignment(np.array([chosen[key] for key in keys], dtype="U10"), forced=True)
    of_id = {id_str: chosen[key] for key, id_str in zip(keys, ids, strict=True)}
    _fill(of_id, {id_str: _unit(id_str) for id_str in of_id})
    return SplitAssignment(np.array([of_id[id_str] for id_str in ids], dtype="U10"), forced=True)


def _fill(chosen: dict[str, str], hashes: dict[str, float]) -> None:
    """Give each empty split the key whose hash lies nearest to its share, out of a split that has several."""
    for empty in ("train", "test", "validation"):  # the ends of the range first
        if empty in chosen.values():
            continue
        members = {split: sum(1 for own in chosen.values() if own == split) for split in SPLITS}
        end = _ENDS[SPLITS.index(empty)]
        start = (0.0, *_ENDS)[SPLITS.index(empty)]
        spare = [key for key in chosen if members[chosen[key]] > 1]
        nearest = min(spare, key=lambda key: (max(start - hashes[key], hashes[key] - end, 0.0), hashes[key], key))
        chosen[nearest] = empty


def _natural(value: float) -> str:
    return next(split for split, end in zip(SPLITS, _ENDS, strict=True) if value < end)


def _unit(key: str) -> float:
    """Hash of a key in [0, 1)."""
    return int.from_bytes(blake2b(key.encode(), digest_size=6).digest(), "big") / 2**48
