"""A PostgreSQL of the test's own that is stopped and started again while the store is used."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gzflow.catalog import database
from gzflow.catalog.failure import Failure
from gzflow.catalog.store import CatalogStore, CutoutRecord
from gzflow.errors import StoreUnavailable

pytestmark = pytest.mark.slow


class PostgreSQL:
    """Runs as user postgres where the tests run as root, who may not."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs = programs
        self.data = folder / "data"
        self.socket = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql+psycopg://gzflow@127.0.0.1:{self.port}/postgres"
        self._call("initdb", "-D", str(self.data), "-A", "trust", "-U", "gzflow")

    def start(self) -> None:
        options = f"-p {self.port} -k {self.socket} -h 127.0.0.1"
        self._call("pg_ctl", "-D", str(self.data), "-o", options, "-l", str(self.socket / "log"), "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        self._call("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop")

    def _call(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd="/")
        assert done.returncode == 0, done.stderr


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not found or (os.geteuid() == 0 and shutil.which("runuser") is None):
        pytest.skip("no PostgreSQL server programs under /usr/lib/postgresql")
    pytest.importorskip("psycopg")
    # Beside pytest's own folders, which are closed to other users.
    folder = Path(subprocess.check_output(["mktemp", "-d", "-t", "gzflow-postgres.XXXXXX"], text=True).strip())
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    server = PostgreSQL(found[-1].parent, folder)
    try:
        server.start()
        yield server
    finally:
        if (server.data / "postmaster.pid").exists():
            server.stop("immediate")
        shutil.rmtree(folder)


def test_a_restart_loses_nothing_and_doubles_nothing(postgres: PostgreSQL, caplog: pytest.LogCaptureFixture) -> None:
    """Four threads write while the server goes and comes twice, once in order and once not."""
    caplog.set_level(logging.INFO, "gzflow")
    done = threading.Event()

    def write(worker: int) -> int:
        n = 0
        with CatalogStore(postgres.url) as store:
            while not done.is_set():
                ids = [f"{worker}-{n}-{i}" for i in range(20)]
                store.record_failures("s", [Failure(one, "ingest", "blank") for one in ids])
                store.record_cutouts("s", [CutoutRecord(one, "done", path=one) for one in ids])
                n += 1
        return n

    with CatalogStore(postgres.url) as store, ThreadPoolExecutor(4) as pool:
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
    with CatalogStore(postgres.url):
        pass
    postgres.stop()
    back = threading.Timer(2.0, postgres.start)
    back.start()
    with CatalogStore(postgres.url) as store:
        assert store.survey_names() == []
    back.join()


def test_one_that_stays_away_is_an_error_and_so_is_one_that_never_was(
    postgres: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "AWAY_S", 1.0)
    with CatalogStore(postgres.url) as store:
        postgres.stop()
        with pytest.raises(StoreUnavailable, match=r"is away(.|\n)*run the same command again"):
            store.survey_names()
    monkeypatch.setattr(database, "_used", set())
    monkeypatch.setattr(database, "AWAY_S", 100.0)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable), CatalogStore(postgres.url):
        pass
    assert time.monotonic() - begun < 10
