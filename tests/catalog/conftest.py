from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from gzflow import load_survey
from gzflow.surveys import Survey

BARS = """
[survey]
name = "bars"
[catalog]
id = "name"
ra = "ra"
dec = "dec"
[catalog.votes]
count = "{question}_{answer}"
total = "{question}_total"
[[question]]
name = "disk"
answers = ["yes", "no"]
[[question]]
name = "bar"
answers = ["strong", "weak", "no"]
asked_after = ["disk=yes"]
"""


@pytest.fixture
def survey(tmp_path: Path) -> Callable[..., Survey]:
    """A survey of two questions, its TOML changed by replacing text; `more` is appended."""

    def make(*changes: tuple[str, str], more: str = "") -> Survey:
        text = BARS
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "bars.toml"
        path.write_text(text + more)
        return load_survey(path)

    return make


@pytest.fixture
def row() -> Callable[..., dict[str, object]]:
    """One sound galaxy of that survey, changed by keywords."""

    def make(name: object = "a", **changes: object) -> dict[str, object]:
        sound = {"name": name, "ra": 10.0, "dec": -5.0}
        sound |= {"disk_yes": 4, "disk_no": 1, "disk_total": 5}
        sound |= {"bar_strong": 1, "bar_weak": 0, "bar_no": 3, "bar_total": 4}
        return sound | changes

    return make


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """A catalog file of rows, by default CSV."""

    def make(*rows: dict[str, object], name: str = "catalog.csv") -> Path:
        path = tmp_path / name
        frame = pl.DataFrame(list(rows), strict=False)
        if name.endswith(".parquet"):
            frame.write_parquet(path)
        else:
            frame.write_csv(path)
        return path

    return make
