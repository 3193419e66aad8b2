"""A PostgreSQL of the test's own that is stopped and started again while the store is used."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
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
    written = [0] * 4

    def write(worker: int) -> None:
        with CatalogStore(url(postgres)) as store:
            while not done.is_set():
                ids = [f"{worker}-{written[worker]}-{i}" for i in range(20)]
                store.record_failures("s", [Failure(one, "ingest", "blank") for one in ids])
                store.record_cutouts("s", [CutoutRecord(one, "done", path=one) for one in ids])
                written[worker] += 1

    def until(happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 100
        while not happened():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def heard(words: str) -> int:
        return sum(words in record.message for record in caplog.records)

    with CatalogStore(url(postgres)) as store, ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, worker) for worker in range(4)]
        try:
            for mode in ("fast", "immediate"):
                before, waits, backs = list(written), heard("is away, waiting"), heard("is back")
                until(lambda before=before: all(now > then + 1 for now, then in zip(written, before, strict=True)))
                postgres.stop(mode)
                until(lambda waits=waits: heard("is away, waiting") > waits)
                postgres.start()
                until(lambda backs=backs: heard("is back") > backs)
        finally:
            done.set()
        for writer in writers:
            writer.result(100)
        assert min(written) > 3
        expected = {f"{w}-{n}-{i}" for w, total in enumerate(written) for n in range(total) for i in range(20)}
        assert set(store.failures("s")["id_str"]) == expected
        cutouts = store.cutouts("s")
        assert set(cutouts["id_str"]) == expected
        assert len(cutouts) == len(expected)


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
    assert time.monotonic() - begun < 50
