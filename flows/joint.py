"""Joint: one encoder learns several surveys; each gets a model of its own of it."""

from __future__ import annotations

from typing import Annotated

from prefect import flow, task
from pydantic import Field

from flows import artifacts, evaluate, events, origin
from flows.forms import Side, SurveyName, Training
from flows.hooks import HOOKS
from flows.train import DEFAULTS
from flows.training_bar import TrainingBar
from gzflow.settings import Settings
from gzflow.stages import joint as stage
from gzflow.stages.evaluate import EvaluateOptions
from gzflow.stages.train import curves_picture
from gzflow.training.config import TrainConfig


@task(name="plan joint training", cache_policy=None)
def plan_joint(surveys: list[str], settings: Settings, pixels: int | None, config: TrainConfig) -> stage.JointPlan:
    """The training to do, and its shares."""
    return stage.plan(surveys, settings, pixels=pixels, config=config)


# Called directly, never submitted: in the flow's own thread a cancellation stops it within seconds.
@task(name="train together", cache_policy=None)
def fit(plan: stage.JointPlan, settings: Settings, bar: TrainingBar) -> stage.JointSummary:
    """A model of all surveys, and each one's share of it, scored and registered."""
    summary = stage.run(plan, settings, on_epoch=bar.after_epoch, flow_run=origin.flow_run())
    bar.after_training()
    return summary


@flow(name="joint", flow_run_name=origin.run_name, **HOOKS)
def joint(
    surveys: Annotated[list[SurveyName], Field(min_length=2)],
    pixels: Side | None = None,
    config: Training = DEFAULTS,
    evaluation: bool = True,
) -> stage.JointSummary:
    """Fit one model to several surveys' votes, a head a survey; each survey gets its share as a model of its own.

    Args:
        surveys: Shipped surveys' names, or paths of TOMLs that describe yours; each needs shards.
        pixels: Side of the shards' images, the same in all surveys. Empty: the one set there is.
        config: Training options.
        evaluation: Score each survey's share on its test galaxies at the end: calibration, slices and a page.
    """
    settings = Settings.load()
    plan = plan_joint(surveys, settings, pixels, config)
    sizes = ", ".join(f"{n:,} for {split}" for split, n in plan.whole.n_galaxies.items())
    summary = fit(plan, settings, TrainingBar("train-progress", trainings=1, epochs=config.epochs))
    lines = [*(one.sentence() for one in (*summary.shares, summary.whole)), f"Galaxies: {sizes}."]
    artifacts.page("joint", f"Model for {', '.join(one.survey for one in summary.shares)}", None, lines)
    artifacts.table("joint-scores", "Each survey's share, and all together", stage.table(summary))
    artifacts.picture("joint-curves", "Loss by epoch", curves_picture(summary.whole))
    artifacts.link("joint-run", summary.whole.url or "", "MLflow run of the training, the surveys' runs below it")
    for named, share in zip(plan.shares, summary.shares, strict=True):
        if evaluation:
            evaluate.steps(EvaluateOptions(named.survey, model=share.version, seed=config.seed), settings)
        if share.alias == "champion" and not share.reused:
            events.champion_changed(share)
    artifacts.next_step(f"gzflow predict {plan.shares[0].survey}", "a catalogue of vote fractions by the champion")
    return summary
