"""A training, or with a parent a fine-tune, that kills itself within its third epoch: SHARDS FOLDER CONFIG [PARENT]."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from gzflow.shards.reader import ShardSet
from gzflow.training.config import FineTuneConfig, TrainConfig
from gzflow.training.metrics import EpochMetrics
from gzflow.training.trainer import train


class Death:
    """Comes before the second batch of the third epoch."""

    def __init__(self) -> None:
        self.epochs = self.batches = 0

    def on_epoch(self, _: EpochMetrics) -> None:
        self.epochs += 1

    def stop(self) -> bool:
        self.batches += self.epochs == 2
        if self.batches == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return False


if __name__ == "__main__":
    torch.set_num_threads(1)
    shards, folder, config, *parent = sys.argv[1:]
    death = Death()
    train(
        ShardSet.open(Path(shards)),
        (FineTuneConfig if parent else TrainConfig).model_validate_json(config),
        Path(folder),
        parent=Path(parent[0]) if parent else None,
        on_epoch=death.on_epoch,
        stop=death.stop,
    )
