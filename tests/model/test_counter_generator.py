"""Random bits by key, seed and counter, against SplitMix64 in whole numbers."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from gzflow.model.counter_generator import random_bits

_STEP, _WORD = 0x9E3779B97F4A7C15, 2**64


def _mixed(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % _WORD
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % _WORD
    return x ^ (x >> 31)


def test_the_reference_gives_the_published_numbers() -> None:
    # The first three for the seed 1234567, as the generator's implementations are checked everywhere.
    assert [_mixed((1234567 + i * _STEP) % _WORD) for i in (1, 2, 3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4), st.integers(-(2**40), 2**40), st.integers(0, 5))
def test_every_key_has_the_stream_of_the_reference(keys: list[int], seed: int, n_words: int) -> None:
    given_bits = random_bits(torch.tensor(keys, dtype=torch.int64), seed, n_words)
    starts = [_mixed((key % _WORD) ^ _mixed((seed + _STEP) % _WORD)) for key in keys]
    expected = [[_mixed((start + i * _STEP) % _WORD) for i in range(n_words)] for start in starts]
    assert [[bits % _WORD for bits in row] for row in given_bits.tolist()] == expected
