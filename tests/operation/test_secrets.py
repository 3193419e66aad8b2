"""Passwords go through the environment and come to rest nowhere: not in a database, a page, a log or a message."""

from __future__ import annotations

import base64
import os
import sqlite3
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest
from sqlalchemy.engine import make_url

from flows.stack.process import marked
from gzflow.catalog.store import CatalogStore
from gzflow.errors import GzflowError
from gzflow.settings import Settings
from gzflow.tracking.registry import Registry
from tests.flows.prefect_server import wait_for
from tests.stack import Stack, running_stack

SECRETS = {name: f"hidden-{name}-9f3a71c5" for name in ("prefect", "mlflow", "catalog", "webhook")}
UNREACHABLE = "postgresql+psycopg://somebody:{password}@127.0.0.1:1/catalog"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass
class Guarded:
    """A stack whose every password is set, and all that its commands printed."""

    stack: Stack
    said: list[str]


@pytest.fixture(scope="module")
def webhook() -> Iterator[tuple[str, list[bytes]]]:
    """An address with a secret in it, and what was sent there."""
    heard: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/hooks/{SECRETS['webhook']}", heard
        server.shutdown()


@pytest.fixture(scope="module")
def guarded(webhook, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    home = tmp_path_factory.mktemp("secrets") / "home"
    passwords = {
        "PREFECT_SERVER_API_AUTH_STRING": f"admin:{SECRETS['prefect']}",
        "PREFECT_API_AUTH_STRING": f"admin:{SECRETS['prefect']}",
        "MLFLOW_AUTH_ADMIN_PASSWORD": SECRETS["mlflow"],
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": SECRETS["mlflow"],
        "GZFLOW_CATALOG_URL": _catalog(),
        "GZFLOW_WEBHOOK_URL": webhook[0],
    }
    with running_stack(home, **passwords) as stack:
        said = []
        for deployment, words in (
            ("pipeline/demo", ("-p", "n_galaxies=60", "-p", "epochs=1")),
            ("ingest/decals", ("-p", "catalog=/nowhere/catalog.csv")),
            ("predict/hubble", ()),
            ("train/candels", ("-p", "pixels=32")),
        ):
            done = stack.prefect("deployment", "run", deployment, "--watch", *words, check=False)
            said += [done.stdout, done.stderr]
        for command in (("status",), ("predict", "hubble"), ("models", "decals"), ("up", "--check")):
            done = stack.gzflow(*command, check=False)
            said += [done.stdout, done.stderr]
        done = stack.gzflow("train", "decals", check=False)
        said += [done.stdout, done.stderr]
        yield Guarded(stack, said)


def _catalog() -> str:
    """The tests' PostgreSQL, which trusts whoever comes with whatever password; else one that nobody answers for."""
    given = os.environ.get("GZFLOW_TEST_POSTGRES_URL")
    if not given:
        return UNREACHABLE.format(password=SECRETS["catalog"])
    return make_url(given).set(password=SECRETS["catalog"]).render_as_string(hide_password=False)


def _forms(secret: str) -> dict[str, bytes]:
    """A secret as it is, and as basic authentication sends it."""
    forms = {"as it is": secret.encode()}
    forms |= {f"in base64 of {user}": base64.b64encode(f"{user}:{secret}".encode()) for user in ("admin", "somebody")}
    return forms


def _found(content: bytes) -> set[str]:
    return {
        f"{name} {how}" for name, secret in SECRETS.items() for how, form in _forms(secret).items() if form in content
    }


def test_the_failures_were_really_provoked(guarded, webhook):
    database = guarded.stack.home / "prefect" / "prefect.db"
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        states = [state for (state,) in connection.execute("select state_type from flow_run")]
        logs = [message for (message,) in connection.execute("select message from log")]
    assert states.count("FAILED") >= 3
    assert any("Traceback" in message for message in logs)
    wait_for(lambda: webhook[1], 120, "somebody was told of a failure")


def test_no_file_holds_a_password(guarded):
    home = guarded.stack.home
    looked = [path for path in home.rglob("*") if path.is_file()]
    names = {path.name for path in looked}
    assert {"prefect.db", "mlflow.db", "state.json", "worker-gpu.log", "prefect-server.log"} <= names
    leaks = {}
    for path in looked:
        with suppress(FileNotFoundError):  # a database's journal, of one transaction
            leaks[str(path.relative_to(home))] = _found(path.read_bytes())
    assert {name: found for name, found in leaks.items() if found} == {}


def test_nothing_printed_shows_a_password(guarded):
    assert _found("\n".join(guarded.said).encode()) == set()


def test_no_command_line_shows_a_password(guarded):
    processes = marked(guarded.stack.home)
    assert len(processes) >= 5
    for process in processes:
        try:
            line = "\0".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
        assert _found(line.encode()) == set()


def test_what_is_sent_to_the_webhook_holds_none(guarded, webhook):
    assert _found(b"\n".join(webhook[1])) == set()


@pytest.mark.parametrize("word", ["hidden-x", "a/b:hidden-x", "%40hidden-x"])
def test_a_databases_errors_hide_its_password(word: str, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 0)  # it would ask for a minute
    url = f"postgresql+psycopg2://somebody:{word}@127.0.0.1:1/mlflow"
    settings = Settings.load({"GZFLOW_CATALOG_URL": url, "MLFLOW_TRACKING_URI": url}, home=tmp_path)
    for ask in (lambda: CatalogStore(settings.catalog_url), lambda: Registry(settings).champion("decals")):
        with pytest.raises(GzflowError) as caught:
            ask()
        told = "".join(traceback.format_exception(caught.value))
        assert "idden-x" not in told
    assert "idden-x" not in repr(settings)
    assert "idden-x" not in "".join(capsys.readouterr())
