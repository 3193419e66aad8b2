"""Random bits that a key, a seed and a counter decide: SplitMix64 (Steele, Lea & Flood 2014, OOPSLA), on any device.

A generator with a state would make a galaxy's numbers depend on those that were drawn before.
"""

from __future__ import annotations

import torch
from torch import Tensor


def random_bits(keys: Tensor, seed: int, n_words: int) -> Tensor:
    """(n, n_words) int64 words of 64 random bits, a stream for each of (n,) int64 `keys`."""
    streams = _mixed(keys ^ _signed(_first(seed)))
    counter = torch.arange(n_words, device=keys.device)
    return _mixed(streams.unsqueeze(1) + counter * _signed(0x9E3779B97F4A7C15))


def _mixed(x: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64 tensors, in place on a copy."""
    x = x ^ ((x >> 30) & ((1 << 34) - 1))
    x *= _signed(0xBF58476D1CE4E5B9)
    x ^= (x >> 27) & ((1 << 37) - 1)
    x *= _signed(0x94D049BB133111EB)
    x ^= (x >> 31) & ((1 << 33) - 1)
    return x


def _first(seed: int) -> int:
    """SplitMix64's first number."""
    x = (seed + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    return x - 2**64 if x >= 2**63 else x
