"""`gzflow up` and `gzflow down`: real servers and workers, started and ended as a user does it."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psutil
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from flows.stack.access import Access
from flows.stack.doctor import examine
from flows.stack.options import StackOptions
from flows.stack.plan import plan
from flows.stack.process import marked
from flows.stack.state import StackState
from gzflow.errors import StackError
from tests.ports import free_port
from tests.stack import ROOT, Stack, running_stack, user_environment

POOLS = ("cpu", "gpu", "net")
FREE = StackOptions(prefect_port=0, mlflow_port=0)


def slow(test):
    """A start takes half a minute on two idle cores, and much longer beside other work."""
    return pytest.mark.slow(pytest.mark.timeout(900)(test))


def wait_for(what: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.3)


def is_200(url: str, auth: tuple[str, str] | None = None) -> bool:
    try:
        return httpx.get(url, follow_redirects=True, timeout=60, auth=auth).status_code == 200
    except httpx.HTTPError:
        return False


def is_closed(url: str) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) != 0


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


# What is refused before anything starts.


def test_every_problem_is_told_at_once(tmp_path: Path, busy: int):
    options = StackOptions(host="0.0.0.0", prefect_port=busy, mlflow_port=busy)
    environ = {"GZFLOW_HOME": str(tmp_path), "PREFECT_API_AUTH_STRING": "nobody", "MLFLOW_TRACKING_PASSWORD": "short"}
    with pytest.raises(StackError) as refused:
        plan(options, environ)
    for words in (
        f"port {busy} for Prefect is in use",
        f"port {busy} for MLflow is in use",
        "is not user:password",
        "12 characters",
    ):
        assert words in str(refused.value)
    assert "short" not in str(refused.value).replace("shorter", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("environ", [{}, {"PREFECT_API_AUTH_STRING": "a:b"}, {"MLFLOW_TRACKING_PASSWORD": "x" * 12}])
def test_beyond_loopback_both_servers_ask_for_passwords_or_the_user_says_so(tmp_path: Path, environ: dict[str, str]):
    environ |= {"GZFLOW_HOME": str(tmp_path)}
    with pytest.raises(StackError, match="whoever reaches Prefect runs code here"):
        plan(StackOptions("0.0.0.0", 0, 0), environ)
    assert plan(StackOptions("0.0.0.0", 0, 0, without_passwords=True), environ).prefect.url.startswith("http://127.")
    both = {"PREFECT_API_AUTH_STRING": "a:b", "MLFLOW_TRACKING_PASSWORD": "x" * 12}
    assert plan(StackOptions("0.0.0.0", 0, 0), environ | both).access.complete


def test_a_server_that_is_named_and_does_not_answer_is_told(tmp_path: Path):
    environ = {"GZFLOW_HOME": str(tmp_path)}
    environ |= {"PREFECT_API_URL": "http://me:secret@127.0.0.1:9/api", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    with pytest.raises(StackError) as refused:
        plan(FREE, environ)
    assert "PREFECT_API_URL contains a password" in str(refused.value)
    assert "MLFLOW_TRACKING_URI=http://127.0.0.1:9: does not answer" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_shell_that_still_exports_the_stopped_stack_starts_it_again(tmp_path: Path):
    port = free_port()
    environ = {"GZFLOW_HOME": str(tmp_path), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    assert not plan(StackOptions(prefect_port=port, mlflow_port=0), environ).prefect.joined


def test_what_guards_the_servers_is_readable_to_the_user_alone(tmp_path: Path):
    access, problems = Access.of({"MLFLOW_AUTH_ADMIN_PASSWORD": "a long enough one"})
    assert problems == []
    environment = access.of_mlflow_server(tmp_path, {})
    files = list((tmp_path / "mlflow").iterdir())
    assert len(files) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert not any("a long enough one" in path.read_text() for path in files)
    assert access.of_mlflow_server(tmp_path, {}) == environment
    assert "a long enough one" not in repr(access)


# The doctor.


def test_the_doctor_finds_nothing_to_repair_here_and_leaves_nothing_behind(tmp_path: Path):
    found = examine(FREE, {"GZFLOW_HOME": str(tmp_path / "home")})
    assert [one for one in found if one.level == "fail"] == []
    assert {"Python", "packages", "write access", "disk", "catalog database", "ports", "GPU"} <= {
        one.check for one in found
    }
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_names_what_is_broken_and_the_cure(tmp_path: Path, busy: int):
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect" / "prefect.db").write_bytes(b"no database" * 100)
    environ = {
        "GZFLOW_HOME": str(tmp_path),
        "GZFLOW_CATALOG_URL": "postgresql+asyncpg://me:hidden@localhost/x",
        "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg2://me:hidden@127.0.0.1:9/mlflow",
    }
    found = {one.check: one for one in examine(StackOptions(prefect_port=busy, mlflow_port=0), environ)}
    failed = {name: one for name, one in found.items() if one.level == "fail"}
    assert set(failed) == {"Prefect database", "catalog database", "MLflow database", "port"}
    assert "file is not a database" in failed["Prefect database"].what
    assert "postgresql+psycopg://" in failed["catalog database"].fix
    assert "onnection refused" in failed["MLflow database"].what
    assert all(one.fix for one in failed.values())
    assert "hidden" not in str(found)


def test_the_doctor_refuses_one_database_for_prefect_and_mlflow(tmp_path: Path):
    shared = "127.0.0.1:9/both"
    environ = {
        "GZFLOW_HOME": str(tmp_path),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{shared}",
        "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg2://{shared}",
    }
    found = {one.check: one for one in examine(FREE, environ)}
    assert "is Prefect's too" in found["MLflow database"].what


def test_the_command_ends_with_1_when_something_must_be_repaired(tmp_path: Path, busy: int):
    words = ["up", "--check", "--prefect-port", str(busy), "--mlflow-port", "0"]
    stack = Stack(tmp_path, user_environment(tmp_path))
    done = stack.gzflow(*words, check=False)
    assert done.returncode == 1
    assert f"port {busy} for Prefect is in use" in done.stdout
    assert stack.gzflow("down").stdout.startswith("nothing runs")


# The whole.


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack") / "home") as stack:
        yield stack
        urls = stack.prefect_url, stack.mlflow_url
    assert [url for url in urls if not is_closed(url)] == []


@slow
def test_both_pages_are_there(stack: Stack):
    for url in (stack.prefect_url, stack.mlflow_url):
        assert is_200(url)
    settings = httpx.get(f"{stack.prefect_url}/ui-settings", timeout=60).json()
    assert settings["api_url"] == f"{stack.prefect_url}/api"


@slow
def test_pools_workers_limits_and_deployments_are_there(stack: Stack):
    with httpx.Client(base_url=stack.state.prefect_api, timeout=60) as api:
        pools = {pool["name"]: pool for pool in api.post("/work_pools/filter", json={}).json()}
        assert {name: pool["concurrency_limit"] for name, pool in pools.items()} == {"cpu": 2, "gpu": 1, "net": 4}
        for name in pools:
            workers = api.post(f"/work_pools/{name}/workers/filter", json={}).json()
            assert [worker["status"] for worker in workers] == ["ONLINE"]
        deployments = api.post("/deployments/filter", json={}).json()
        assert {deployment["work_pool_name"] for deployment in deployments} == {"cpu", "gpu", "net"}
        assert [one["name"] for one in deployments if any(each["active"] for each in one["schedules"])] == ["runs"]
        for host in ("www.legacysurvey.org", "skyserver.sdss.org"):
            assert api.get(f"/v2/concurrency_limits/gzflow-cutouts-{host}").json()["limit"] == 1
        automations = api.post("/automations/filter", json={}).json()
        assert "gzflow: heartbeat lost" in {automation["name"] for automation in automations}


@slow
def test_what_users_set_on_a_deployment_survives_the_next_start(stack: Stack):
    """A schedule switched on, one switched off, one of the user's own, and another limit."""

    def settled() -> dict[str, Any]:
        return {
            name: (
                [(each["active"], each["schedule"]) for each in found["schedules"]],
                found["global_concurrency_limit"]["limit"],
                found["concurrency_options"]["collision_strategy"],
                found["paused"],
            )
            for name in ("shard/gz2", "sweep/runs", "predict/gz2")
            for found in [api.get(f"/deployments/name/{name}").raise_for_status().json()]
        }

    def change(name: str, cron: str, *, active: bool, **values: Any) -> None:
        found = api.get(f"/deployments/name/{name}").json()
        schedule = {"active": active, "schedule": {"cron": cron, "timezone": "UTC"}}
        body = {"schedules": [schedule]} | values
        # SQLite under a busy server answers 503 now and then; Prefect's own clients ask again, too.
        wait_for(lambda: api.patch(f"/deployments/{found['id']}", json=body).is_success)

    with httpx.Client(base_url=stack.state.prefect_api, timeout=30) as api:
        fresh = settled()
        change("shard/gz2", "0 4 * * 6", active=True, concurrency_limit=3)
        change("sweep/runs", "*/15 * * * *", active=False)
        change("predict/gz2", "0 1 1 1 *", active=True, paused=True)
        before = settled()
        assert all(before[name] != fresh[name] for name in fresh)
        words = [sys.executable, "-m", "flows.stack.furnish", "deployments"]
        subprocess.run(words, cwd=ROOT, env=dict(stack.environment), check=True, capture_output=True, timeout=280)
        assert settled() == before


@slow
def test_a_second_up_says_where_it_runs(stack: Stack):
    for words in (["up"], ["up", "--background"]):
        said = stack.gzflow(*words).stdout
        assert "runs already" in said
        assert stack.prefect_url in said
        assert stack.mlflow_url in said


@slow
def test_what_dies_starts_again(stack: Stack):
    before = dict(stack.state.pids)
    psutil.Process(before["worker-net"]).kill()
    psutil.Process(before["mlflow-server"]).kill()
    wait_for(lambda: all(stack.state.pids[name] != before[name] for name in ("worker-net", "mlflow-server")))
    wait_for(lambda: is_200(f"{stack.mlflow_url}/health"))
    assert stack.state.pids["prefect-server"] == before["prefect-server"]
    assert "mlflow-server ended with status -9: starts again" in stack.logs()


@slow
def test_it_joins_servers_that_run_and_leaves_them_running(stack: Stack, tmp_path: Path):
    there = {"PREFECT_API_URL": stack.state.prefect_api, "MLFLOW_TRACKING_URI": stack.mlflow_url}
    with running_stack(tmp_path / "home", **there) as joined:
        assert set(joined.state.joined) == {"prefect", "mlflow"}
        assert joined.state.ports == []
        assert set(joined.state.pids) == {f"worker-{pool}" for pool in POOLS}
        found = {one.check: one for one in examine(FREE, {"GZFLOW_HOME": str(tmp_path / "another"), **there})}
        assert found["Prefect server"].level == found["MLflow server"].level == "ok"
    assert is_200(stack.prefect_url)
    assert is_200(stack.mlflow_url)


@slow
def test_kill_9_leaves_nothing_and_the_next_start_is_clean(tmp_path: Path):
    home = tmp_path / "home"
    with running_stack(home) as stack:
        stack.prefect("deployment", "run", "pipeline/demo", "-p", "n_galaxies=300", "-p", "epochs=500")
        log = home / "stack" / "logs" / "worker-gpu.log"
        wait_for(lambda: "epoch 1: train" in log.read_text())
        urls = stack.prefect_url, stack.mlflow_url
        supervisor = stack.state.supervisor()
        assert supervisor is not None
        supervisor.kill()
        wait_for(lambda: not marked(home))
        assert all(map(is_closed, urls))
        # In the foreground this time, ended by Ctrl-C.
        again = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "up", "--prefect-port", "0", "--mlflow-port", "0"],
            cwd=ROOT, env=dict(stack.environment) | {"PREFECT_API_URL": "", "MLFLOW_TRACKING_URI": ""},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            wait_for(lambda: stack.state.pid == again.pid and stack.state.ready)
            with sqlite3.connect(home / "prefect" / "prefect.db") as database:
                runs = "select state_name from flow_run join deployment on deployment.id = deployment_id"
                states = [state for (state,) in database.execute(f"{runs} where deployment.name = 'demo'")]
            assert states == ["Crashed"]
            with sqlite3.connect(home / "mlflow" / "mlflow.db") as database:
                assert [status for (status,) in database.execute("select status from runs")] == ["KILLED"]
        finally:
            again.send_signal(signal.SIGINT)
            said = again.communicate(timeout=120)[0]
        assert again.returncode == 0
        assert "export PREFECT_API_URL=" in said
        assert said.endswith("stopped\n")
        assert marked(home) == []


@slow
def test_with_passwords_everybody_else_is_kept_out_and_they_are_written_nowhere(tmp_path: Path):
    home = tmp_path / "home"
    secrets = {"PREFECT_SERVER_API_AUTH_STRING": "admin:prefect-sesame", "MLFLOW_AUTH_ADMIN_PASSWORD": "mlflow-sesame"}
    with running_stack(home, **secrets) as stack:
        for url, password in (
            (f"{stack.prefect_url}/api/admin/version", "prefect-sesame"),
            (f"{stack.mlflow_url}/api/2.0/mlflow/experiments/search?max_results=1", "mlflow-sesame"),
        ):
            assert httpx.get(url, timeout=60).status_code == 401
            assert httpx.get(url, timeout=60, auth=("admin", "wrong")).status_code == 401
            assert httpx.get(url, timeout=60, auth=("admin", password)).status_code == 200
        # A client in another terminal, and the worker's flow run, which asks MLflow.
        login = {"PREFECT_API_AUTH_STRING": "admin:prefect-sesame"}
        user = Stack(home, dict(stack.environment) | login)
        user.prefect("deployment", "run", "sweep/runs", "--watch")
        for process in marked(home):
            assert "sesame" not in " ".join(process.cmdline())
        with httpx.Client(base_url=stack.state.prefect_api, auth=("admin", "prefect-sesame"), timeout=60) as api:
            assert "sesame" not in api.post("/deployments/filter", json={}).text
            assert "sesame" not in api.post("/flow_runs/filter", json={}).text
    for path in home.rglob("*"):
        assert not path.is_file() or b"sesame" not in path.read_bytes()


@pytest.fixture
def databases() -> Iterator[dict[str, str]]:
    """Three new databases on the PostgreSQL of GZFLOW_TEST_POSTGRES_URL, by the variables that name them."""
    given = os.environ.get("GZFLOW_TEST_POSTGRES_URL")
    if not given:
        pytest.skip("GZFLOW_TEST_POSTGRES_URL names no PostgreSQL")
    admin = create_engine(make_url(given), isolation_level="AUTOCOMMIT")
    names = {word: f"gzflow_{word}_{uuid4().hex[:8]}" for word in ("prefect", "mlflow", "catalog")}
    with admin.connect() as connection:
        for name in names.values():
            connection.execute(text(f"create database {name}"))

    def url(word: str, driver: str) -> str:
        address = make_url(given).set(drivername=f"postgresql+{driver}", database=names[word])
        return address.render_as_string(hide_password=False)

    yield {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": url("prefect", "asyncpg"),
        "MLFLOW_BACKEND_STORE_URI": url("mlflow", "psycopg2"),
        "GZFLOW_CATALOG_URL": url("catalog", "psycopg"),
    }
    with admin.connect() as connection:
        for name in names.values():
            connection.execute(text(f"drop database {name} with (force)"))
    admin.dispose()


@slow
def test_all_three_databases_may_be_postgresql(databases: dict[str, str], tmp_path: Path):
    home = tmp_path / "home"
    found = {one.check: one for one in examine(FREE, {"GZFLOW_HOME": str(home), **databases})}
    assert {found[f"{name} database"].level for name in ("Prefect", "MLflow", "catalog")} == {"ok"}
    with running_stack(home, **databases) as stack:
        stack.prefect("deployment", "run", "pipeline/demo", "-p", "n_galaxies=60", "-p", "epochs=1", "--watch")
    for variable, table, least in (
        ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "flow_run where state_type = 'COMPLETED'", 1),
        ("MLFLOW_BACKEND_STORE_URI", "model_versions", 1),
        ("GZFLOW_CATALOG_URL", "galaxies", 50),
    ):
        engine = create_engine(make_url(databases[variable]).set(drivername="postgresql+psycopg"))
        with engine.connect() as connection:
            assert connection.execute(text(f"select count(*) from {table}")).scalar_one() >= least
        engine.dispose()
    assert not list(home.rglob("prefect.db"))
    assert not list(home.rglob("mlflow.db"))
    assert not list(home.rglob("catalog.db"))


def test_a_state_of_another_version_is_no_state(tmp_path: Path):
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / "state.json").write_text('{"colour": "blue"}')
    assert StackState.read(tmp_path) is None
