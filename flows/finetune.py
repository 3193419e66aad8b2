"""Finetune: a model of one survey learns another survey's questions."""

from __future__ import annotations

from typing import Annotated

from prefect import flow, task
from pydantic import Field

from flows import artifacts, evaluate, events, origin
from flows.forms import LabelCounts, ParentName, Side, SurveyName
from flows.hooks import HOOKS
from flows.training_bar import TrainingBar
from gzflow.settings import Settings
from gzflow.stages import finetune as stage
from gzflow.stages.evaluate import EvaluateOptions
from gzflow.stages.finetune_options import FineTuneOptions
from gzflow.stages.train_chunk import TrainChunk
from gzflow.stages.train_summary import TrainSummary
from gzflow.stages.training_run import run_training
from gzflow.training.config import FineTuneConfig

DEFAULTS = FineTuneConfig()
"""What a form begins with."""


@task(name="plan fine-tuning", cache_policy=None)
def plan_fine_tuning(options: FineTuneOptions, settings: Settings) -> stage.FineTunePlan:
    """The trainings to do."""
    return stage.plan(options, settings)


# Called directly, never submitted: in the flow's own thread a cancellation stops it within seconds.
@task(name="train", task_run_name="{chunk.name}", cache_policy=None)
def fit(chunk: TrainChunk, settings: Settings, parent_run_id: str, bar: TrainingBar) -> TrainSummary:
    """One of the fine-tune's models, trained and scored."""
    summary = run_training(
        chunk, settings, parent_run_id=parent_run_id, on_epoch=bar.after_epoch, flow_run=origin.flow_run()
    )
    bar.after_training()
    return summary


def steps(options: FineTuneOptions, settings: Settings, *, evaluation: bool = True) -> stage.FineTuneSummary:
    """The tasks of a fine-tune, inside whatever flow is running."""
    plan = plan_fine_tuning(options, settings)
    bar = TrainingBar("finetune-progress", trainings=len(plan.chunks), epochs=plan.config.epochs)

    def each(chunk: TrainChunk, parent_run_id: str) -> TrainSummary:
        return fit(chunk, settings, parent_run_id, bar)

    summary = stage.run(plan, settings, each=each, flow_run=origin.flow_run())
    artifacts.page("finetune", f"Fine-tuned model for {summary.survey}", None, _lines(summary))
    artifacts.table("finetune-scores", "Fine-tuned, from scratch, and constant", stage.table(summary))
    if summary.picture is not None:
        artifacts.picture("finetune-curve", "Learning curve", summary.picture.read_bytes())
    artifacts.link("finetune-run", summary.url or "", "MLflow run of the whole comparison")
    artifacts.link("finetune-model-run", summary.tuned.url or "", "MLflow run of the registered model")
    if evaluation:
        evaluate.steps(EvaluateOptions(options.survey, model=summary.tuned.version, seed=summary.tuned.seed), settings)
    artifacts.next_step(f"gzflow predict {options.survey}", "a catalogue of vote fractions by the champion")
    if summary.tuned.alias == "champion" and not summary.tuned.reused:
        events.champion_changed(summary.tuned)
    return summary


@flow(name="finetune", flow_run_name=origin.run_name, **HOOKS)
def finetune(
    survey: SurveyName,
    parent: ParentName = "decals",
    pixels: Side | None = None,
    config: FineTuneConfig = DEFAULTS,
    label_counts: LabelCounts | None = None,
    seeds: Annotated[int, Field(ge=1, le=20)] = 1,
    scratch: bool = True,
    evaluation: bool = True,
) -> stage.FineTuneSummary:
    """Fine-tune a model to a survey's questions and register it; the first one becomes the survey's champion.

    Args:
        survey: The survey to learn: a shipped one's name, or the path of a TOML that describes yours; it needs shards.
        parent: The model to start from: a survey (its champion), survey/3, survey@challenger, a models:/ URI, a folder.
        pixels: Side of the shards' images. Empty: the one set there is.
        config: Fine-tuning options.
        label_counts: Numbers of training galaxies for a learning curve, each below all of them. Empty: no curve.
        seeds: Trainings for each point of the curve.
        scratch: Train the same budget from scratch beside every fine-tune, for comparison.
        evaluation: Score the model on the test galaxies at the end: calibration, slices and a page.
    """
    options = FineTuneOptions(survey, parent, pixels, config, tuple(label_counts or ()), seeds, scratch)
    return steps(options, Settings.load(), evaluation=evaluation)


def _lines(summary: stage.FineTuneSummary) -> list[str]:
    tuned = summary.tuned
    seen = (
        f"Of {tuned.n_test + tuned.n_leaked:,} test galaxies {tuned.n_leaked:,} were left out because they were seen in"
        f" training ({tuned.n_leaked_by_parent:,} by the parent or its ancestors); stamps of {tuned.n_overlapping:,}"
        " others overlap one that was seen."
    )
    blind = [f"**The guard is partly blind:** {'; '.join(tuned.guard_unknown)}."] if tuned.guard_unknown else []
    return [summary.sentence(), seen, *blind, f"Folder: `{summary.folder}`"]
