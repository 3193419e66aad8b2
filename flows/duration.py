"""Lengths of time for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Two units at most, as ``2 d 3 h``, ``1 h 05 min``, ``4 min``, ``12 s``."""
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 9.5 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 10 and seconds < 599.5:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"
