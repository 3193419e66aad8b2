"""Give the Prefect server what gzflow needs of it. Runs as a process of its own, because it imports Prefect.

``python -m flows.stack.furnish pools`` makes work pools and limits and clears away dead runs, ``... deployments`` puts
up the deployments of prefect.yaml and the automations. A pool, limit or schedule that exists is left as it is: somebody
may have changed it in the UI. ``... store`` makes MLflow's SQLite file before its server starts.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.workers.process import ProcessWorker

from flows.politeness import ensure, limit_name
from flows.stack import kept
from flows.stack.dead_runs import crash_dead_runs
from flows.stack.plan import ROOT
from flows.stack.pools import POOLS, worker_name
from gzflow.settings import Settings
from gzflow.stages.images import host
from gzflow.surveys import load_survey, survey_names
from gzflow.tracking.client import connect
from gzflow.tracking.orphans import end_orphans


def store(uri: str) -> None:
    """Make MLflow's SQLite file, whole or not at all: its server, killed while it makes one, leaves it broken."""
    connect(replace(Settings.load(), tracking_uri=uri))


async def pools() -> None:
    """Make the work pools and limits that are missing."""
    async with get_client() as client:
        existing = {pool.name: pool for pool in await client.read_work_pools()}
        for pool in POOLS:
            if pool.name not in existing:
                await client.create_work_pool(
                    WorkPoolCreate(
                        name=pool.name,
                        type=ProcessWorker.type,
                        description=pool.description,
                        concurrency_limit=pool.limit,
                        base_job_template=ProcessWorker.get_default_base_job_template(),
                    )
                )
            elif existing[pool.name].type != ProcessWorker.type:
                sys.exit(f"the work pool {pool.name} is of type {existing[pool.name].type}, not process: rename it")
        for run in await crash_dead_runs(client, {worker_name(pool) for pool in POOLS}):
            ended = ", ".join(end_orphans(Settings.load(), str(run))) or "none"
            sys.stdout.write(f"flow run {run} died with an earlier stack; its MLflow runs, ended now: {ended}\n")


def limits() -> None:
    """Make a concurrency limit for each host that a shipped survey asks for images; others get theirs when asked."""
    hosts = {host(load_survey(name)) for name in survey_names()} - {None}
    for one in hosts:
        ensure(limit_name(str(one)))


def deployments() -> None:
    """Put every deployment of prefect.yaml on the server, and the automations that refer to them."""
    from flows import automations

    with get_client(sync_client=True) as client:
        before = kept.choices(client)
        try:
            subprocess.run([sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"], cwd=ROOT, check=True)
        finally:
            kept.restore(client, before)
    sys.stdout.write("\n  ".join(["automations:", *automations.apply()]) + "\n")


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "store":
        store(*arguments)
    elif what == "pools":
        asyncio.run(pools())
        limits()
    else:
        deployments()
