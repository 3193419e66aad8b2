"""Train: fit, score, log and register a model."""

from __future__ import annotations

from prefect import flow, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from flows import artifacts, evaluate, events, origin
from flows.forms import Side, SurveyName, Training
from flows.hooks import HOOKS
from gzflow.settings import Settings
from gzflow.stages import train as stage
from gzflow.stages.evaluate import EvaluateOptions
from gzflow.training.config import TrainConfig
from gzflow.training.metrics import EpochMetrics

DEFAULTS = TrainConfig()
"""What a form begins with."""


@task(name="plan training", cache_policy=None)
def plan_training(survey: str, settings: Settings, pixels: int | None, config: TrainConfig) -> stage.TrainChunk:
    """The run to do."""
    return stage.plan(survey, settings, pixels=pixels, config=config)


# Called directly, never submitted: in the flow's own thread a cancellation stops it within seconds.
@task(name="train", cache_policy=None)
def fit(chunk: stage.TrainChunk, settings: Settings) -> stage.TrainSummary:
    """A trained and registered model."""
    flow_run = origin.flow_run()
    bar = create_progress_artifact(0.0, key="train-progress", description="epochs") if flow_run else None

    def on_epoch(epoch: EpochMetrics) -> None:
        if bar is not None:
            update_progress_artifact(bar, 100 * (epoch.epoch + 1) / chunk.config.epochs)

    return stage.run_chunk(chunk, settings, on_epoch=on_epoch, flow_run=flow_run)


def steps(survey: str, settings: Settings, *, pixels: int | None, config: TrainConfig) -> stage.TrainSummary:
    """The tasks of a training, inside whatever flow is running."""
    chunk = plan_training(survey, settings, pixels, config)
    sizes = ", ".join(f"{n:,} for {split}" for split, n in chunk.n_galaxies.items())
    artifacts.page("train", "Model in training", None, [f"Galaxies: {sizes}."])
    summary = fit(chunk, settings)
    lines = [summary.sentence(), f"Galaxies: {sizes}.", f"Folder: `{summary.folder}`"]
    artifacts.page("train", f"Model for {summary.survey}", None, lines)
    artifacts.link("train-run", summary.url or "", "MLflow run: parameters, metrics, figures, the model")
    artifacts.picture("train-curves", "Loss by epoch", stage.curves_picture(summary))
    evaluate.steps(EvaluateOptions(survey, model=summary.version, seed=config.seed), settings)
    artifacts.next_step(f"gzflow predict {survey}", "a catalogue of vote fractions by the champion")
    if summary.alias == "champion" and not summary.reused:
        events.champion_changed(summary)
    return summary


@flow(name="train", flow_run_name=origin.run_name, **HOOKS)
def train(survey: SurveyName, pixels: Side | None = None, config: Training = DEFAULTS) -> stage.TrainSummary:
    """Fit a model to a survey's votes; the first one becomes the survey's champion.

    Args:
        survey: A shipped survey's name, or the path of a TOML that describes yours; it needs shards.
        pixels: Side of the shards' images. Empty: the one set there is.
        config: Training options.
    """
    return steps(survey, Settings.load(), pixels=pixels, config=config)
