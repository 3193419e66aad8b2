"""A fine-tune in a process of its own, for tests that kill it: SHARDS PARENT FOLDER CONFIG; one line an epoch."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from gzflow.shards.reader import ShardSet
from gzflow.training.config import FineTuneConfig
from gzflow.training.trainer import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    shards, parent, folder, config = sys.argv[1:]
    train(
        ShardSet.open(Path(shards)),
        FineTuneConfig.model_validate_json(config),
        Path(folder),
        parent=Path(parent),
        on_epoch=lambda epoch: sys.stdout.write(f"{epoch.epoch}\n"),
    )
