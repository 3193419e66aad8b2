"""`gzflow up` and `gzflow down`: real servers and workers, started and ended as a user does it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.stack import Stack, running_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack") / "home") as stack:
        yield stack
        urls = stack.prefect_url, stack.mlflow_url
    for url in urls:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=2)


@pytest.mark.slow
def test_both_pages_are_there(stack: Stack):
    for url in (stack.prefect_url, stack.mlflow_url):
        assert httpx.get(url, follow_redirects=True, timeout=10).status_code == 200
    settings = httpx.get(f"{stack.prefect_url}/ui-settings", timeout=10).json()
    assert settings["api_url"] == f"{stack.prefect_url}/api"


@pytest.mark.slow
def test_pools_workers_and_deployments_are_there(stack: Stack):
    with httpx.Client(base_url=stack.state.prefect_api, timeout=10) as api:
        pools = {pool["name"]: pool for pool in api.post("/work_pools/filter", json={}).json()}
        assert {name: pool["concurrency_limit"] for name, pool in pools.items()} == {"cpu": 2, "gpu": 1, "net": 4}
        for name in pools:
            workers = api.post(f"/work_pools/{name}/workers/filter", json={}).json()
            assert [worker["status"] for worker in workers] == ["ONLINE"]
        deployments = api.post("/deployments/filter", json={}).json()
        assert {deployment["work_pool_name"] for deployment in deployments} == {"cpu", "gpu", "net"}
        active = {one["name"] for one in deployments for schedule in one["schedules"] if schedule["active"]}
        assert active == {"runs"}  # the sweep's


@pytest.mark.slow
def test_a_second_up_says_where_it_runs(stack: Stack):
    for words in (["up"], ["up", "--background"]):
        said = stack.gzflow(*words).stdout
        assert "runs already" in said
        assert stack.prefect_url in said
        assert stack.mlflow_url in said
