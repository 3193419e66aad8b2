"""What an exported file holds, whatever its format: names, provenance, and a few columns at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Contents:
    """An opened file.

    Attributes
    ----------
    names
        Of its columns.
    facts
        Its provenance and, where gzflow wrote it, its tree.
    read
        Gives (n,) values of the columns that are named, in the machine's byte order; texts are objects.
    """

    names: tuple[str, ...]
    facts: Mapping[str, str]
    read: Callable[[Sequence[str]], Columns]


NOTHING = Contents((), {}, lambda _: {})
"""Of a file that says of itself too little to be a catalogue."""


def native(values: NDArray[Any]) -> NDArray[Any]:
    """A copy in the machine's byte order, texts as objects, NaN where a value is masked."""
    plain = np.asarray(np.ma.filled(values, np.nan) if values.dtype.kind == "f" else values)
    return plain.astype(object if plain.dtype.kind in "SU" else plain.dtype.newbyteorder("="))
