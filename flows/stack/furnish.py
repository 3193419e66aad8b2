"""Give the Prefect server what gzflow needs of it. Runs as a process of its own, because it imports Prefect.

``python -m flows.stack.furnish pools`` makes work pools and limits, ``... deployments`` the deployments of prefect.yaml
and the automations. What exists is left as it is: somebody may have changed a limit in the UI.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from flows import automations
from flows.stack.plan import ROOT
from flows.stack.pools import POOLS, TAG_LIMITS


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
        for tag, limit in TAG_LIMITS.items():
            await _limit(client, tag, limit)


async def _limit(client: PrefectClient, tag: str, limit: int) -> None:
    try:
        await client.read_concurrency_limit_by_tag(tag)
    except ObjectNotFound:
        await client.create_concurrency_limit(tag=tag, concurrency_limit=limit)


def deployments() -> None:
    """Put every deployment of prefect.yaml on the server, and the automations that refer to them."""
    subprocess.run([sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"], cwd=ROOT, check=True)
    print("automations:", *automations.apply(), sep="\n  ")  # noqa: T201  goes to the log


if __name__ == "__main__":
    if sys.argv[1] == "pools":
        asyncio.run(pools())
    else:
        deployments()
