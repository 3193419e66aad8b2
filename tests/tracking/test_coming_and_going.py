"""MLflow that goes away in the middle of a run and comes back."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import requests

from gzflow.errors import TrackingError, TrackingUnavailable
from gzflow.settings import Settings
from gzflow.tracking.client import connect, tracking_errors
from gzflow.tracking.patience import Patience
from gzflow.tracking.registry import Registry
from gzflow.tracking.run import TrackedRun
from tests.own_postgres import own_postgres
from tests.ports import free_port

ROOT = Path(__file__).parents[2]


class Store:
    """Stands for any store: it takes requests while it is there."""

    def __init__(self) -> None:
        self.there = True
        self.got: list[int] = []

    def put(self, value: int) -> Callable[[], None]:
        def request() -> None:
            if not self.there:
                raise requests.ConnectionError("nobody answers")
            self.got.append(value)

        return request


def test_what_is_kept_is_sent_once_and_in_order(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    store, patience = Store(), Patience(settings, patience_s=60)
    caplog.set_level(logging.INFO, "gzflow")
    patience.keep(store.put(0))
    store.there = False
    started = time.monotonic()
    for value in (1, 2, 3):
        patience.keep(store.put(value))
    assert time.monotonic() - started < patience.patience_s  # nobody waits
    store.there = True
    patience.ask("answer", store.put(10))
    patience.make_good()
    assert store.got == [0, 10, 1, 2, 3]
    away, back = (record.message for record in caplog.records)
    assert away == f"MLflow is away, metrics are kept until it is back: {settings.tracking_uri}"
    assert back.startswith("MLflow is back after ")


def test_patience_ends_and_says_what_to_do(settings: Settings, tmp_path: Path) -> None:
    store = Store()
    store.there = False
    with pytest.raises(TrackingUnavailable, match="away for 1 s") as caught:
        Patience(settings, patience_s=1, folder=tmp_path / "run").ask("keep model.json", store.put(1))
    assert f"gzflow import-run {tmp_path / 'run'}" in str(caught.value)
    assert "on disk" in str(caught.value)


def test_a_refusal_is_not_waited_for_and_does_not_stay(settings: Settings) -> None:
    with TrackedRun(settings, "toy") as run:
        with pytest.raises(TrackingError, match="Invalid value") as caught:
            run.patience.keep(lambda: run.client.log_metric(run.id, "key", "text"))  # type: ignore[arg-type]
        assert not isinstance(caught.value, TrackingUnavailable)
        run.log_metrics({"train_loss": 1.0})
    assert connect(settings).get_run(run.id).data.metrics == {"train/loss": 1.0}


def test_which_errors_may_pass(settings: Settings) -> None:
    from mlflow.exceptions import MlflowException, RestException
    from sqlalchemy.exc import OperationalError, ProgrammingError

    def kind(error: Exception) -> type[TrackingError]:
        with pytest.raises(TrackingError) as caught, tracking_errors("ask", settings):
            raise error
        return caught.type

    for passing in (
        OperationalError("select 1", {}, Exception("server closed the connection")),
        RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "database is locked"}),
        MlflowException("API request failed with exception: connection refused"),
    ):
        assert kind(passing) is TrackingUnavailable
    for final in (
        RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"}),
        RestException({"error_code": "PERMISSION_DENIED", "message": "not yours"}),
        ProgrammingError("select x", {}, Exception("no such column")),
        PermissionError("read-only file system"),
    ):
        assert kind(final) is TrackingError


def test_sending_twice_is_sending_once(settings: Settings) -> None:
    """An answer that was lost on the way looks like a request that was: it is made again."""
    from mlflow.entities import Metric

    with TrackedRun(settings, "toy") as run:
        once = [Metric("train/loss", 2.0, 1_700_000_000_000, 0), Metric("val/loss", float("nan"), 1_700_000_000_000, 0)]
        for _ in range(2):
            run.patience.keep(lambda: run.client.log_batch(run.id, metrics=once))
        assert run.logged_steps("train_loss") == {0}
        assert len(run.client.get_metric_history(run.id, "train/loss")) == 1
        assert len(run.client.get_metric_history(run.id, "val/loss")) == 1


class Server:
    """A real MLflow server over a store, on one port, that can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        known = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        environ = known | {"GZFLOW_HOME": str(self.home), "MLFLOW_PORT": str(self.port)}
        program = shlex.quote(str(Path(sys.executable).with_name("mlflow")))
        command = ["sh", "-c", f"set -a; . mlflow/server.env; set +a; exec {program} server"]
        with (self.home / "server.log").open("a") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environ, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/health", timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.3)
        pytest.fail(f"the server did not start: {(self.home / 'server.log').read_text()[-2000:]}")

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
            self._process = None


@pytest.fixture
def server(settings: Settings) -> Iterator[Server]:
    """Over the test's own store."""
    server = Server(settings.home)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_misses_nothing(
    server: Server, settings: Settings, saved_model: Callable[[int], Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gzflow")
    away = replace(settings, tracking_uri=server.url, home=settings.home / "client")
    with TrackedRun(away, "toy", patience_s=120) as run:
        run.log_params({"seed": 1})
        for epoch in range(6):
            if epoch == 2:
                server.kill()
            if epoch == 5:
                server.start()
            started = time.monotonic()
            run.log_metrics({"train_loss": 9.0 - epoch, "validation_nll/arms": float(epoch)}, step=epoch)
            assert time.monotonic() - started < 60  # training is not held up: the patience is twice as long
        server.kill()
        back = threading.Timer(3.0, server.start)
        back.start()
        run.log_text("notes.txt", "sent when the server was back")
        ref = run.patience.ask("register the model", lambda: Registry(away).register(saved_model(1), run))
        back.join()
    stored = connect(settings).get_run(run.id)
    assert stored.info.status == "FINISHED"
    for key, first in (("train/loss", 9.0), ("val/nll/arms", 0.0)):
        history = run.client.get_metric_history(run.id, key)
        assert [one.step for one in history] == list(range(6))
        assert history[0].value == first
        assert [one.timestamp for one in history] == sorted(one.timestamp for one in history)
    assert ref.version == "1"
    said = [record.message for record in caplog.records if record.name in {"gzflow.tracking.patience", "urllib3"}]
    assert [line.split(" after")[0].split(",")[0] for line in said] == ["MLflow is away", "MLflow is back"] * 2


@pytest.mark.slow
def test_a_server_that_stays_away_ends_the_run_with_advice(server: Server, settings: Settings, tmp_path: Path) -> None:
    away = replace(settings, tracking_uri=server.url, home=settings.home / "client")

    def work() -> None:
        with TrackedRun(away, "toy", patience_s=3, folder=tmp_path / "run") as run:
            run.log_metrics({"train_loss": 1.0})
            server.kill()
            run.log_metrics({"train_loss": 0.5}, step=1)

    with pytest.raises(TrackingUnavailable, match="gzflow import-run") as caught:
        work()
    assert "away for 3 s" in str(caught.value)


@pytest.mark.slow
def test_a_database_that_restarts_misses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """MLflow straight on PostgreSQL, without a server between."""
    pytest.importorskip("psycopg2")
    caplog.set_level(logging.INFO, "gzflow")
    with own_postgres() as postgres:
        uri = f"postgresql+psycopg2://{postgres.place}"
        settings = Settings.load({"MLFLOW_TRACKING_URI": uri}, home=tmp_path / "home")
        with TrackedRun(settings, "toy", patience_s=60) as run:
            for epoch in range(4):
                if epoch == 1:
                    postgres.stop("immediate")
                if epoch == 3:
                    postgres.start()
                run.log_metrics({"train_loss": 9.0 - epoch}, step=epoch)
            postgres.stop()
            back = threading.Timer(2.0, postgres.start)
            back.start()
            run.log_params({"seed": 1})
            back.join()
        stored = run.client.get_run(run.id)
        assert (stored.info.status, stored.data.params) == ("FINISHED", {"seed": "1"})
        history = run.client.get_metric_history(run.id, "train/loss")
        assert [(one.step, one.value) for one in history] == [(epoch, 9.0 - epoch) for epoch in range(4)]
