"""Surveys of a user's own, as TOML."""

from __future__ import annotations

RINGS = """
[survey]
name = "rings"
[catalog]
id = "id_str"
image = "file"
[catalog.votes]
count = "{question}_{answer}"
[[question]]
name = "ring"
answers = ["yes", "no"]
"""
