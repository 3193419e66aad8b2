"""Where a training runs: in this process, or in one process a device."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import IO

import torch

from gzflow.errors import TrainingError
from gzflow.shards.reader import ShardSet
from gzflow.training.config import TrainConfig
from gzflow.training.metrics import EpochMetrics
from gzflow.training.result import TrainResult, conclude
from gzflow.training.trainer import begin, train
from gzflow.training.worker import Job, death

logger = logging.getLogger(__name__)

LOOK_S = 0.2
"""Seconds between two looks at what the processes have done and whether they are to stop."""


def launch(
    shards: ShardSet,
    config: TrainConfig,
    folder: Path,
    *,
    parent: Path | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """What `train` returns, trained on as many devices as the configuration says.

    With more than one, torchrun starts a process a device: children of this one, which die with it however it ends,
    as does their training when one of them dies. What was finished stays on disk, and the next call goes on from
    there. `on_epoch` and `stop` are called here, in the caller's thread.

    Raises
    ------
    TrainingError
        As `train`; fewer devices than asked for; a process that died.
    """
    if config.devices == 1:
        return train(shards, config, folder, parent=parent, on_epoch=on_epoch, stop=stop)
    _require_devices(config.devices)
    config, description = begin(shards, config, folder, parent=parent)
    if description["finished"]:
        return conclude(shards, config, folder)
    job = Job(folder)
    job.prepare(shards, config, parent)
    logger.info("training in %d processes", config.devices)
    finished = _run(job, config.devices, on_epoch or (lambda _: None), stop or (lambda: False))
    return conclude(shards, config, folder, finished=finished, stop=stop)


def _run(job: Job, n: int, on_epoch: Callable[[EpochMetrics], None], stop: Callable[[], bool]) -> bool:
    """True after the processes have trained to the end, False after they were stopped."""
    epochs = _epochs(job)
    said: deque[str] = deque(maxlen=30)
    with subprocess.Popen(  # noqa: S603 - this interpreter, this package
        [sys.executable, "-m", "gzflow.training.worker", "torchrun", str(os.getpid()), str(n), str(job.folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // n))} | os.environ,
        text=True,
        errors="replace",
    ) as torchrun:
        # The pipe ends when the last process does: nobody works in the folder after that.
        listener = Thread(target=_listen, args=(torchrun.stdout, said), daemon=True)
        listener.start()
        try:
            while listener.is_alive():
                listener.join(LOOK_S)
                for epoch in epochs:
                    if epoch is None:
                        break
                    on_epoch(epoch)
                if stop():
                    return False
            torchrun.wait()
        finally:
            torchrun.kill()  # on a stop, an error, a signal; otherwise it has ended
            listener.join()
    if torchrun.returncode != 0:
        raise job.failure() or death(job, said, f"torchrun ended with code {torchrun.returncode}")
    return True


def _listen(output: IO[str], said: deque[str]) -> None:
    for line in output:
        said.append(line.rstrip())


def _epochs(job: Job) -> Iterator[EpochMetrics | None]:
    """Epochs as they are reported, None whenever there is no further one yet."""
    while not job.epochs.is_file():
        yield None
    rest = ""
    with job.epochs.open(encoding="utf-8") as stream:
        while True:
            *lines, rest = (rest + stream.read()).split("\n")
            for line in lines:
                yield EpochMetrics(**json.loads(line))
            yield None


def _require_devices(n: int) -> None:
    there = torch.cuda.device_count()
    if 0 < there < n:
        raise TrainingError(
            f"{n} devices were asked for",
            expected=f"at most the {there} accelerators of this machine",
            fix=f"set devices to {there}, or set CUDA_VISIBLE_DEVICES= to train in {n} processes on the CPU",
        )
