"""A training run in a process of its own, for tests that kill it: SHARDS FOLDER; one line an epoch."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from gzflow.shards.reader import ShardSet
from gzflow.training.config import TrainConfig
from gzflow.training.trainer import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    train(
        ShardSet.open(Path(sys.argv[1])),
        TrainConfig.model_validate_json(Path(__file__).with_suffix(".json").read_text()),
        Path(sys.argv[2]),
        on_epoch=lambda epoch: sys.stdout.write(f"{epoch.epoch}\n"),
    )
