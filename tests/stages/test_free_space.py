from __future__ import annotations

from pathlib import Path

import pytest

from gzflow.stages.free_space import free_space, readable


@pytest.mark.parametrize(
    ("n", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (23_456_789, "23.5 MB"), (104e9, "104.0 GB"),
     (2.5e12, "2.5 TB"), (3e15, "3,000.0 TB")],
    ids=str,
)  # fmt: skip
def test_bytes_are_read_at_a_glance(n: float, words: str):
    assert readable(n) == words


def test_room_where_a_folder_would_be_made(tmp_path: Path):
    assert free_space(tmp_path / "not" / "yet") > 0
