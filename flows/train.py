"""Train: fit, score, log and register a model."""

from __future__ import annotations

from prefect import flow, task

from flows import artifacts, evaluate, events, origin
from flows.forms import Side, SurveyName, Training
from flows.hooks import HOOKS
from flows.training_bar import TrainingBar
from gzflow.settings import Settings
from gzflow.stages import ensemble
from gzflow.stages import train as stage
from gzflow.stages.evaluate import EvaluateOptions
from gzflow.stages.training_run import run_training
from gzflow.training.config import TrainConfig

DEFAULTS = TrainConfig()
"""What a form begins with."""


@task(name="plan training", cache_policy=None)
def plan_training(survey: str, settings: Settings, pixels: int | None, config: TrainConfig) -> stage.TrainChunk:
    """The run to do."""
    return stage.plan(survey, settings, pixels=pixels, config=config)


# Called directly, never submitted: in the flow's own thread a cancellation stops it within seconds.
@task(name="train", cache_policy=None)
def fit(chunk: stage.TrainChunk, settings: Settings, bar: TrainingBar) -> stage.TrainSummary:
    """A trained and registered model."""
    summary = stage.run_chunk(chunk, settings, on_epoch=bar.after_epoch, flow_run=origin.flow_run())
    bar.after_training()
    return summary


@task(name="train member", task_run_name="{chunk.name}", cache_policy=None)
def fit_member(chunk: stage.TrainChunk, settings: Settings, parent_run_id: str, bar: TrainingBar) -> stage.TrainSummary:
    """One network of an ensemble, trained and scored."""
    summary = run_training(
        chunk, settings, parent_run_id=parent_run_id, on_epoch=bar.after_epoch, flow_run=origin.flow_run()
    )
    bar.after_training()
    return summary


def fit_ensemble(chunk: stage.TrainChunk, settings: Settings, pixels: int | None) -> stage.TrainSummary:
    """All members and, of them, one registered model."""
    plan = ensemble.plan(chunk, settings, pixels=pixels)
    bar = TrainingBar("train-progress", trainings=len(plan.members), epochs=chunk.config.epochs)

    def each(member: stage.TrainChunk, parent_run_id: str) -> stage.TrainSummary:
        return fit_member(member, settings, parent_run_id, bar)

    return ensemble.run(plan, settings, each=each, flow_run=origin.flow_run())


def steps(
    survey: str, settings: Settings, *, pixels: int | None, config: TrainConfig, evaluation: bool = True
) -> stage.TrainSummary:
    """The tasks of a training, inside whatever flow is running."""
    chunk = plan_training(survey, settings, pixels, config)
    sizes = ", ".join(f"{n:,} for {split}" for split, n in chunk.n_galaxies.items())
    artifacts.page("train", "Model in training", None, [f"Galaxies: {sizes}."])
    if config.members > 1:
        summary = fit_ensemble(chunk, settings, pixels)
    else:
        summary = fit(chunk, settings, TrainingBar("train-progress", trainings=1, epochs=config.epochs))
    lines = [summary.sentence(), f"Galaxies: {sizes}.", f"Folder: `{summary.folder}`"]
    artifacts.page("train", f"Model for {summary.survey}", None, lines)
    artifacts.link("train-run", summary.url or "", "MLflow run: parameters, metrics, figures, the model")
    artifacts.picture("train-curves", "Loss by epoch", stage.curves_picture(summary))
    if compared := ensemble.table(summary):
        artifacts.table("train-members", "Single members and the ensemble, on the same test galaxies", compared)
    if evaluation:
        evaluate.steps(EvaluateOptions(survey, model=summary.version, seed=config.seed), settings)
    artifacts.next_step(f"gzflow predict {survey}", "a catalogue of vote fractions by the champion")
    if summary.alias == "champion" and not summary.reused:
        events.champion_changed(summary)
    return summary


@flow(name="train", flow_run_name=origin.run_name, **HOOKS)
def train(
    survey: SurveyName, pixels: Side | None = None, config: Training = DEFAULTS, evaluation: bool = True
) -> stage.TrainSummary:
    """Fit a model, or an ensemble of several, to a survey's votes; the first one becomes the survey's champion.

    Args:
        survey: A shipped survey's name, or the path of a TOML that describes yours; it needs shards.
        pixels: Side of the shards' images. Empty: the one set there is.
        config: Training options.
        evaluation: Score the model on the test galaxies at the end: calibration, slices and a page.
    """
    return steps(survey, Settings.load(), pixels=pixels, config=config, evaluation=evaluation)
