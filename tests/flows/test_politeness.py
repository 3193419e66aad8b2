"""A cutout host is asked by one process at a time, over all workers of a Prefect server."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from flows.politeness import limit_name
from tests.flows.prefect_server import REPOSITORY, PrefectServer

HOST = "127.0.0.1:8123"
TWO_CHUNKS = f"""
import json, threading, time
from flows.politeness import turn
spans = []
both = threading.Barrier(2)
def chunk():
    with turn({HOST!r}):
        begin = time.monotonic()
        both.wait(100)
        time.sleep(0.5)
        spans.append([begin, time.monotonic()])
threads = [threading.Thread(target=chunk) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(spans))
"""


def test_names_are_ones_that_prefect_takes() -> None:
    assert limit_name("www.legacysurvey.org") == "gzflow-cutouts-www.legacysurvey.org"
    assert limit_name("[fe80::1%eth0]:80") == "gzflow-cutouts-[fe80::1-eth0]:80"


@pytest.mark.slow
def test_processes_take_turns_and_chunks_of_one_share_it(server: PrefectServer) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_CHUNKS],
            env=server.env,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [child.communicate(timeout=250) for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    first, second = sorted(sorted(json.loads(out.splitlines()[-1])) for out, _ in outputs)
    assert len(first) == len(second) == 2, "chunks of one process waited for each other"
    assert max(end for _, end in first) <= min(begin for begin, _ in second), "two processes asked at a time"
    limit = server.get(f"v2/concurrency_limits/{limit_name(HOST)}")
    assert (limit["limit"], limit["active_slots"]) == (1, 0)


@pytest.mark.slow
def test_a_limit_that_somebody_changed_stays(server: PrefectServer) -> None:
    change = (
        "from prefect.client.orchestration import get_client\n"
        "from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate\n"
        "from flows.politeness import ensure\n"
        "ensure('gzflow-cutouts-a.org')\n"
        "with get_client(sync_client=True) as client:\n"
        "    client.update_global_concurrency_limit('gzflow-cutouts-a.org', GlobalConcurrencyLimitUpdate(limit=3))\n"
        "ensure('gzflow-cutouts-a.org')\n"
    )
    server.python(change)
    assert server.get("v2/concurrency_limits/gzflow-cutouts-a.org")["limit"] == 3
