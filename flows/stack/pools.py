"""Work pools: how much may run at a time, and where."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass

from flows.stack.plan import ROOT, StackPlan
from flows.stack.process import Child


@dataclass(frozen=True)
class Pool:
    """A kind of work with a queue and a worker of its own.

    Attributes
    ----------
    limit
        Flow runs at a time, over all its workers.
    """

    name: str
    limit: int
    description: str


POOLS = (
    Pool("cpu", 2, "Shards, cross-matches, comparisons: work for cores and disks."),
    Pool("gpu", 1, "Training, fine-tuning and prediction: one at a time, they fill the device."),
    Pool("net", 4, "Ingest: waits for cutout services most of the time."),
)


def worker_name(pool: Pool) -> str:
    """The worker's name on this machine."""
    return f"{pool.name}-{socket.gethostname()}"


def worker(plan: StackPlan, pool: Pool) -> Child:
    """The process that takes the pool's runs and starts one process for each."""
    return Child(
        f"worker-{pool.name}",
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool.name, "--type", "process",
         "--name", worker_name(pool), "--install-policy", "never"],
        plan.clients,
        ROOT,
        plan.logs / f"worker-{pool.name}.log",
    )  # fmt: skip
