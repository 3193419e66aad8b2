"""A store that an earlier version wrote is brought up to date, once, with all it held."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from gzflow.catalog.read import read_catalog
from gzflow.catalog.store import CatalogStore, CutoutRecord
from gzflow.surveys import Survey

Make = Callable[..., Survey]
Row = Callable[..., dict[str, object]]
Table = Callable[..., Path]
SPAWN = multiprocessing.get_context("spawn")


def as_first_format(url: str, source: Path) -> None:
    """Undo what the second format added, as an old version would have left it."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in ("galaxies", "failures"):
            connection.execute(text(f"ALTER TABLE {table} DROP COLUMN ingest"))
        connection.execute(text("DROP TABLE catalog_files"))
        connection.execute(
            text(
                "CREATE TABLE ingests (survey TEXT NOT NULL, source TEXT NOT NULL, counts TEXT NOT NULL, at TEXT,"
                " PRIMARY KEY (survey, source))"
            )
        )
        connection.execute(
            text("INSERT INTO ingests VALUES ('bars', :source, :counts, '2025-01-01')"),
            {"source": str(source), "counts": '{"read": 3, "filtered": 0, "failed": 1, "galaxies": 2}'},
        )
        connection.execute(text("UPDATE gzflow_store SET value = '1' WHERE name = 'format_version'"))
    engine.dispose()


def open_it(url: str) -> None:
    CatalogStore(url).close()


@pytest.mark.parametrize("openers", [1, 4])
def test_the_first_format(url: str, survey: Make, row: Row, table: Table, openers: int) -> None:
    bars = survey()
    path = table(row("a"), row("b"), row(None))
    with CatalogStore(url) as store:
        store.upsert_catalog(bars, read_catalog(bars, path))
        store.record_cutouts("bars", [CutoutRecord("a", "done", path="a.png")])
        before = store.galaxies("bars"), store.votes(bars), store.cutouts("bars")
    as_first_format(url, path)
    processes = [SPAWN.Process(target=open_it, args=(url,)) for _ in range(openers - 1)]
    for process in processes:
        process.start()
    with CatalogStore(url) as store:
        after = store.galaxies("bars"), store.votes(bars), store.cutouts("bars")
        assert all(one.equals(other) for one, other in zip(before, after, strict=True))
        assert store.ingests("bars").select("source", "at").rows() == [(str(path), "2025-01-01")]
        assert store.upsert_catalog(bars, read_catalog(bars, table(row("a")))) == 1
        assert store.galaxies("bars")["id_str"].to_list() == ["a"]
        assert store.failures("bars").is_empty()
        assert len(store.ingests("bars")) == 1
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * (openers - 1)
