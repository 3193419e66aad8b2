from __future__ import annotations

import contextvars
import logging
import multiprocessing
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from gzflow.cutouts import exchange as module
from gzflow.cutouts.exchange import Exchange
from gzflow.cutouts.fetch import Fetched, Target
from gzflow.recipe import CutoutSpec


@pytest.fixture
def exchange():
    running = Exchange()
    yield running
    running.close()


def spec(url: str, **manners: float) -> CutoutSpec:
    return CutoutSpec(
        service="legacysurvey", url=url, pixels=64, pixscale=0.3, **({"rate": 1e4, "patience": 0.0} | manners)
    )


def targets(start: int, n: int) -> list[Target]:
    return [Target(f"J{k:03}", k + 0.5, 1.0, 0.3) for k in range(start, start + n)]


def all_of(exchange: Exchange, wanted: list[Target], asked: CutoutSpec, folder: Path) -> list[Fetched]:
    return [fetched for batch in exchange.fetch(wanted, asked, folder) for fetched in batch]


def test_chunks_in_threads_share_connections_and_the_rate(server, tmp_path: Path, exchange: Exchange) -> None:
    asked = spec(server.url, rate=60, connections=3)
    server.delay = 0.02
    started = time.monotonic()
    with ThreadPoolExecutor(2) as threads:
        chunks = list(threads.map(lambda start: all_of(exchange, targets(start, 30), asked, tmp_path), (0, 30)))
    assert [one.state for chunk in chunks for one in chunk] == ["done"] * 60
    assert server.times[-1] - started >= 0.8 * 59 / 60
    assert server.most_at_once <= 3
    assert len(server.clients) <= 3, "a chunk opened connections of its own"


def test_every_file_is_there_when_its_batch_arrives(server, tmp_path: Path, exchange: Exchange) -> None:
    for batch in exchange.fetch(targets(0, 150), spec(server.url, rate=60), tmp_path):
        assert all(one.path is not None and one.path.stat().st_size == one.bytes for one in batch)
        if len(server.times) < 150:
            break
    else:
        raise AssertionError("nothing came before the end")


def test_leaving_early_stops_what_is_on_its_way(server, tmp_path: Path, exchange: Exchange) -> None:
    with closing(exchange.fetch(targets(0, 300), spec(server.url, rate=50, connections=2), tmp_path)) as batches:
        next(batches)
    asked = len(server.times)
    time.sleep(0.5)  # for 25 more
    assert len(server.times) <= asked + 2, "more than what was on its way"
    assert len(all_of(exchange, targets(0, 5), spec(server.url), tmp_path)) == 5


def test_what_one_chunk_learnt_of_a_dead_host_is_known_to_the_next(server, tmp_path: Path, exchange: Exchange) -> None:
    server.faults = {k: ["503"] for k in range(200)}
    asked = spec(server.url, attempts=3, connections=4)
    first = all_of(exchange, targets(0, 100), asked, tmp_path)
    assert exchange.given_up(asked)
    requests = len(server.times)
    assert requests <= 16 + 4
    second = all_of(exchange, targets(100, 100), asked, tmp_path)
    assert len(server.times) == requests
    assert {one.state for one in first + second} == {"to-do"}
    exchange.forget_troubles()
    server.faults.clear()
    assert [one.state for one in all_of(exchange, targets(0, 5), asked, tmp_path)] == ["done"] * 5
    assert not exchange.given_up(asked)


def test_a_host_that_comes_back_costs_no_galaxy_its_attempts(tmp_path: Path, server, caplog) -> None:
    """The service fails for all for a while: one request a pause, and in the end every galaxy has its image."""
    server.down_for = 21
    quick = Exchange(first_pause_s=0.2)
    asked = spec(server.url, attempts=4, connections=4, patience=60)
    with caplog.at_level(logging.WARNING):
        try:
            results = all_of(quick, targets(0, 60), asked, tmp_path)
        finally:
            quick.close()
    assert [one.state for one in results] == ["done"] * 60
    assert len(server.times) == 21 + 60  # 16 in a row, at most 3 more on their way, then one at a time
    assert "pausing; one request tries again" in caplog.text
    assert "answers again" in caplog.text


def test_what_is_logged_belongs_to_the_callers_context(server, tmp_path: Path, exchange: Exchange) -> None:
    run = contextvars.ContextVar("run", default="nobody")
    seen: list[str] = []

    class Look(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            seen.append(run.get())

    logger, look = logging.getLogger("gzflow.cutouts"), Look()
    logger.addHandler(look)
    server.faults = {k: ["503"] for k in range(40)}
    try:
        run.set("this one")
        all_of(exchange, targets(0, 40), spec(server.url, attempts=2), tmp_path)
    finally:
        logger.removeHandler(look)
    assert set(seen) == {"this one"}
    assert seen


def test_errors_of_the_plan_and_of_the_disk_reach_the_caller(server, tmp_path: Path, exchange: Exchange) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        all_of(exchange, targets(0, 3), spec(server.url), tmp_path / "file")
    assert all_of(exchange, [], spec(server.url), tmp_path) == []


def _in_a_child(url: str, folder: str) -> None:
    done = [one for batch in module.exchange().fetch(targets(0, 3), spec(url), Path(folder)) for one in batch]
    if [one.state for one in done] != ["done"] * 3:
        raise SystemExit(1)


def test_a_forked_child_has_an_exchange_of_its_own(server, tmp_path: Path) -> None:
    mine = module.exchange()
    assert mine is module.exchange() is module.begun()
    assert len(all_of(mine, targets(0, 3), spec(server.url), tmp_path / "a")) == 3
    child = multiprocessing.get_context("fork").Process(target=_in_a_child, args=(server.url, str(tmp_path / "b")))
    child.start()
    child.join(60)
    assert child.exitcode == 0


def test_close_leaves_no_thread_and_no_connection(server, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    running = Exchange()
    all_of(running, targets(0, 5), spec(server.url), tmp_path)
    running.close()
    gzflow_threads = [thread for thread in set(threading.enumerate()) - before if "gzflow" in thread.name]
    assert gzflow_threads == []
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), 5):
        pass
