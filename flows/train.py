"""Train: fit, score, log and register a model."""

from __future__ import annotations

from typing import Annotated

from prefect import flow, runtime, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext
from pydantic import Field

from flows import artifacts
from gzflow.settings import Settings
from gzflow.stages import train as stage
from gzflow.training.config import TrainConfig
from gzflow.training.metrics import EpochMetrics


@task(name="plan training", cache_policy=None)
def plan_training(survey: str, settings: Settings, pixels: int | None, config: TrainConfig) -> stage.TrainChunk:
    """The run to do."""
    return stage.plan(survey, settings, pixels=pixels, config=config)


# Called directly, never submitted: in the flow's own thread a cancellation stops it within seconds.
@task(name="train", cache_policy=None)
def fit(chunk: stage.TrainChunk, settings: Settings) -> stage.TrainSummary:
    """A trained and registered model."""
    in_flow = FlowRunContext.get() is not None
    bar = create_progress_artifact(0.0, key="train-progress", description="epochs") if in_flow else None

    def on_epoch(epoch: EpochMetrics) -> None:
        if bar is not None:
            update_progress_artifact(bar, 100 * (epoch.epoch + 1) / chunk.config.epochs)

    flow_run = (str(runtime.flow_run.id), str(runtime.flow_run.ui_url or "")) if in_flow else None
    return stage.run_chunk(chunk, settings, on_epoch=on_epoch, flow_run=flow_run)


def steps(survey: str, settings: Settings, *, pixels: int | None, config: TrainConfig) -> stage.TrainSummary:
    """The tasks of a training, inside whatever flow is running."""
    summary = fit(plan_training(survey, settings, pixels, config), settings)
    artifacts.page("train", f"Model for {summary.survey}", None, [summary.sentence(), f"Folder: `{summary.folder}`"])
    artifacts.link("train-run", summary.url or "", "MLflow run")
    return summary


@flow(name="train", flow_run_name="train-{survey}")
def train(
    survey: str,
    pixels: Annotated[int, Field(ge=16, le=1024)] | None = None,
    config: TrainConfig | None = None,
) -> stage.TrainSummary:
    """Fit a model to a survey's votes; the first one becomes the survey's champion.

    Args:
        survey: A survey with shards.
        pixels: Side of the shards' images. Empty: the one set there is.
        config: Training options. Empty: the defaults.
    """
    return steps(survey, Settings.load(), pixels=pixels, config=config or TrainConfig())
