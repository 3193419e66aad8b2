"""Where a training runs: in this process, or in one process a device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gzflow.shards.reader import ShardSet
from gzflow.training.config import TrainConfig
from gzflow.training.metrics import EpochMetrics
from gzflow.training.trainer import TrainResult, train


def launch(
    shards: ShardSet,
    config: TrainConfig,
    folder: Path,
    *,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """What `train` returns, trained on as many devices as the configuration says."""
    return train(shards, config, folder, on_epoch=on_epoch, stop=stop)
