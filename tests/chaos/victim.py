"""A nursery of victims: what is heavy is imported once; each stage runs in a fork that may be killed at any moment.

Reads one request a line (JSON: stage, home, log, environment, and the stage's own words) and answers with lines:
``began PID`` once the fork leads its own process group and its stage begins, ``result JSON`` when the stage has ended
well, and ``ended STATUS`` with what `os.waitpid` said.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning  # noqa: F401 - imported here so that no fork has to
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
import torch
import torchvision  # noqa: F401

from gzflow.settings import Settings
from gzflow.stages import finetune, ingest, predict, shard, train
from gzflow.stages.counts import Counts, total
from gzflow.training.config import FineTuneConfig, TrainConfig

RETRIES = 3
"""As many as the flow's task has."""


def run_ingest(settings: Settings, survey: str, catalog: str) -> Any:
    """A catalog and the images of its galaxies, two chunks at a time."""
    ingest.CHUNK = ingest.SERVICE_CHUNK = 8
    source = ingest.IngestSource(survey=survey, catalog=catalog)
    ingest.read(source, settings)

    def one(chunk: ingest.IngestChunk) -> Counts:
        for _ in range(RETRIES + 1):
            if not (counts := ingest.run_chunk(chunk, settings)).to_do:
                break
        return counts

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, ingest.plan(source, settings).chunks))
    return asdict(ingest.finish(source, settings))


def run_shard(settings: Settings, survey: str, pixels: int) -> Any:
    """Shards of eight galaxies, two at a time."""
    shard.MEMORY = 8 * 3 * pixels**2
    plan = shard.plan(survey, settings, pixels=pixels)
    with ThreadPoolExecutor(2) as pool:
        counts = total(pool.map(lambda chunk: shard.run_chunk(chunk, settings), plan.chunks))
    return asdict(shard.finish(plan, counts))


def run_train(settings: Settings, survey: str, config: dict[str, Any]) -> Any:
    """A registered model."""
    chunk = train.plan(survey, settings, pixels=None, config=TrainConfig(**config))
    return asdict(train.run_chunk(chunk, settings, flow_run=("a-flow-run", "http://127.0.0.1/a-flow-run")))


def run_predict(settings: Settings, survey: str) -> Any:
    """A catalogue."""
    plan = predict.plan(predict.PredictOptions(survey=survey, samples=5), settings)
    counts = total(predict.run_chunk(chunk, settings) for chunk in plan.chunks)
    return asdict(predict.finish(plan, counts, settings))


def run_finetune(settings: Settings, survey: str, parent: str, config: dict[str, Any]) -> Any:
    """A model for another survey, and one from scratch beside it."""
    options = finetune.FineTuneOptions(survey, parent, config=FineTuneConfig(**config))
    return finetune.run(finetune.plan(options, settings), settings).run_id


STAGES: dict[str, Callable[..., Any]] = {
    "ingest": run_ingest,
    "shard": run_shard,
    "train": run_train,
    "predict": run_predict,
    "finetune": run_finetune,
}


def say(line: str) -> None:
    """One line to whoever asked; short ones arrive whole even when two processes write."""
    os.write(1, f"{line}\n".encode())


def die(request: dict[str, Any]) -> None:
    """Run the stage in this fork, and leave without the clean-up that belongs to the nursery."""
    os.setsid()
    status = 1
    with Path(request.pop("log")).open("a") as log:
        os.dup2(log.fileno(), 2)
    try:
        torch.set_num_threads(1)
        settings = Settings.load(request.pop("environment"), home=request.pop("home"))
        stage = STAGES[request.pop("stage")]
        say(f"began {os.getpid()}")
        say(f"result {json.dumps(stage(settings, **request), default=str)}")
        status = 0
    except BaseException:  # noqa: BLE001 - a fork must not go on as the nursery, whatever happens
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Fork for each request until nobody asks any more."""
    threads = {(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()}
    # Those of allocators are prepared for a fork; another one's locks would be copied in any state.
    assert threads <= {Path("/proc/self/comm").read_text().strip(), "jemalloc_bg_thd", "polars-ooc-clea"}, threads
    say("ready")
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            die(request)
        say(f"ended {os.waitpid(pid, 0)[1]}")


if __name__ == "__main__":
    main()
