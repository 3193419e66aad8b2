"""Reproducible chance: random numbers that depend on names and seeds, never on order."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MASK = np.uint64(0xFFFFFFFFFFFFFFFF)


def key(*parts: object) -> int:
    """64-bit number of a tuple of names and numbers, the same on every machine."""
    text = "\x1f".join(repr(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(*parts: object) -> np.random.Generator:
    """A generator of its own for each tuple of names and numbers."""
    return np.random.Generator(np.random.SFC64(key(*parts)))


def uniforms(seeds: ArrayLike, name: str) -> NDArray[Any]:
    """(n,) numbers in [0, 1), one a seed, different for every `name`.

    Notes
    -----
    The finaliser of SplitMix64 (Steele, Lea & Flood 2014) on the seed plus the name's key.
    """
    with np.errstate(over="ignore"):
        x = np.asarray(seeds).astype(np.uint64) + np.uint64(key(name))
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9) & _MASK
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB) & _MASK
        x ^= x >> np.uint64(31)
    return np.asarray((x >> np.uint64(11)).astype(np.float64) / float(1 << 53))
