"""Means that may be of nothing, and numbers as tables show them."""

from __future__ import annotations

from math import isfinite
from typing import Any

from numpy.typing import NDArray


def mean(values: NDArray[Any]) -> float:
    """Of all values; NaN of none, without NumPy's warning."""
    return float(values.mean()) if values.size else float("nan")


def number(value: float) -> str:
    """Three decimals, or a dash where there is no number."""
    return f"{value:.3f}" if isfinite(value) else "–"


def percent(share: float) -> str:
    """A share of 1 as ``12.3 %``, or a dash where there is no number."""
    return f"{100 * share:.1f} %" if isfinite(share) else "–"
