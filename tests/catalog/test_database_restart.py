"""A PostgreSQL of the test's own that is stopped and started again while the store is used."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gzflow.catalog import database
from gzflow.catalog.failure import Failure
from gzflow.catalog.store import CatalogStore, CutoutRecord
from gzflow.errors import StoreUnavailable
from tests.own_postgres import PostgreSQL, own_postgres

pytestmark = pytest.mark.slow


@pytest.fixture
def postgres() -> Iterator[PostgreSQL]:
    pytest.importorskip("psycopg")
    with own_postgres() as server:
        yield server


def url(server: PostgreSQL) -> str:
    return f"postgresql+psycopg://{server.place}"


def test_a_restart_loses_nothing_and_doubles_nothing(postgres: PostgreSQL, caplog: pytest.LogCaptureFixture) -> None:
    """Four threads write while the server goes and comes twice, once in order and once not."""
    caplog.set_level(logging.INFO, "gzflow")
    done = threading.Event()

    def write(worker: int) -> int:
        n = 0
        with CatalogStore(url(postgres)) as store:
            while not done.is_set():
                ids = [f"{worker}-{n}-{i}" for i in range(20)]
                store.record_failures("s", [Failure(one, "ingest", "blank") for one in ids])
                store.record_cutouts("s", [CutoutRecord(one, "done", path=one) for one in ids])
                n += 1
        return n

    with CatalogStore(url(postgres)) as store, ThreadPoolExecutor(4) as pool:
        written = [pool.submit(write, worker) for worker in range(4)]
        for mode in ("fast", "immediate"):
            time.sleep(1.0)
            postgres.stop(mode)
            time.sleep(1.0)
            postgres.start()
        time.sleep(1.0)
        done.set()
        batches = [future.result(60) for future in written]
        assert min(batches) > 3
        expected = {f"{w}-{n}-{i}" for w, total in enumerate(batches) for n in range(total) for i in range(20)}
        assert set(store.failures("s")["id_str"]) == expected
        cutouts = store.cutouts("s")
        assert set(cutouts["id_str"]) == expected
        assert len(cutouts) == len(expected)
    said = [record.message for record in caplog.records]
    assert any("is away, waiting" in line for line in said)
    assert any("is back" in line for line in said)


def test_a_new_store_waits_if_the_database_was_there_before(postgres: PostgreSQL) -> None:
    with CatalogStore(url(postgres)):
        pass
    postgres.stop()
    back = threading.Timer(2.0, postgres.start)
    back.start()
    with CatalogStore(url(postgres)) as store:
        assert store.survey_names() == []
    back.join()


def test_one_that_stays_away_is_an_error_and_so_is_one_that_never_was(
    postgres: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "AWAY_S", 1.0)
    with CatalogStore(url(postgres)) as store:
        postgres.stop()
        with pytest.raises(StoreUnavailable, match=r"is away(.|\n)*run the same command again"):
            store.survey_names()
    monkeypatch.setattr(database, "_used", set())
    monkeypatch.setattr(database, "AWAY_S", 100.0)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable), CatalogStore(url(postgres)):
        pass
    assert time.monotonic() - begun < 10
