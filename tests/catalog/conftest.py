from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

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


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'home' / 'catalog.db'}"
        return
    server = os.environ.get("GZFLOW_TEST_POSTGRES_URL")
    if not server:
        pytest.skip("GZFLOW_TEST_POSTGRES_URL names no PostgreSQL database to test with")
    # A schema of its own a test: the database may be anybody's.
    name = f"gzflow_test_{uuid4().hex[:12]}"
    engine = create_engine(server)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {name}"))
    yield make_url(server).update_query_dict({"options": f"-csearch_path={name}"}).render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
    engine.dispose()
