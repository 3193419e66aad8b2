"""Train: fit a model to a shard set, score it on test galaxies, log the run and register the model."""

from __future__ import annotations

import json
from collections.abc import Callable

from gzflow.evaluation.figures import figure_png
from gzflow.settings import Settings
from gzflow.shards.header import SPLITS
from gzflow.stages.shard_sets import find_shards
from gzflow.stages.train_chunk import TrainChunk
from gzflow.stages.train_summary import TrainSummary
from gzflow.stages.training_log import described_curves
from gzflow.stages.training_run import run_training
from gzflow.surveys import load_survey
from gzflow.training.config import TrainConfig
from gzflow.training.description import DESCRIPTION
from gzflow.training.metrics import EpochMetrics

__all__ = ["TrainChunk", "TrainSummary", "curves_picture", "plan", "run_chunk"]


def plan(survey_name: str, settings: Settings, *, pixels: int | None, config: TrainConfig) -> TrainChunk:
    """The one run there is to do, after opening its shards.

    Raises
    ------
    ShardError
        No finished shard set, or several and none named.
    """
    survey = load_survey(survey_name)
    shards = find_shards(survey.name, pixels, settings)
    resolved = config.resolve(shards.n("train"), shards.recipe)
    digest = resolved.fingerprint[:8]
    folder = settings.training(survey.name) / f"{shards.fingerprint[:8]}-{digest}"
    # What tells runs apart for people who compare them; the digest, for what else was changed.
    name = f"seed{resolved.seed}-{resolved.encoder}-{shards.recipe.pixels}px-{digest}"
    sizes = {split: shards.n(split) for split in SPLITS}
    return TrainChunk(survey_name, str(shards.folder), str(folder), name, config, sizes)


def run_chunk(
    chunk: TrainChunk,
    settings: Settings,
    *,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    stop: Callable[[], bool] | None = None,
    flow_run: tuple[str, str] | None = None,
) -> TrainSummary:
    """Train, score, log and register; see `run_training`."""
    return run_training(chunk, settings, on_epoch=on_epoch, stop=stop, flow_run=flow_run)


def curves_picture(summary: TrainSummary) -> bytes:
    """Loss by epoch, as PNG."""
    return figure_png(described_curves(json.loads((summary.folder / DESCRIPTION).read_text("utf-8"))))
