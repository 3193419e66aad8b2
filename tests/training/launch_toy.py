"""A training in two processes under one of its own, for tests that kill it: SHARDS FOLDER CONFIG; one line an epoch."""

from __future__ import annotations

import sys
from pathlib import Path

from gzflow.shards.reader import ShardSet
from gzflow.training.config import TrainConfig
from gzflow.training.launch import launch

if __name__ == "__main__":
    launch(
        ShardSet.open(Path(sys.argv[1])),
        TrainConfig.model_validate_json(sys.argv[3]),
        Path(sys.argv[2]),
        on_epoch=lambda epoch: print(epoch.epoch, flush=True),  # noqa: T201
    )
