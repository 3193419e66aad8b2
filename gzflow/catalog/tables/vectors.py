"""Names of the elements of vector columns: ``PETRO_TH50[4]``, ``COVARIANCE[0,2]``."""

from __future__ import annotations

import re
from itertools import product
from math import prod

_ELEMENT = re.compile(r"^(.*)\[(\d+(?:,\d+)*)\]$", re.DOTALL)
# Longer vectors are images or spectra; nobody names their elements in a survey.
_LONGEST = 64


def element_names(name: str, shape: tuple[int, ...]) -> list[str]:
    """The column itself for a scalar (also one written as a vector of one), else its elements; none if too many."""
    if prod(shape) == 1:
        return [name]
    if prod(shape) > _LONGEST:
        return []
    return [f"{name}[{','.join(map(str, index))}]" for index in product(*map(range, shape))]


def split_name(name: str) -> tuple[str, tuple[int, ...] | None]:
    """(column, index of its element), or (name, None) for a name that is no element's."""
    match = _ELEMENT.match(name)
    return (match[1], tuple(int(i) for i in match[2].split(","))) if match else (name, None)
