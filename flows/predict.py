"""Predict: the champion's vote fractions for every galaxy of a survey's shards."""

from __future__ import annotations

from prefect import flow, task

from flows import artifacts, evaluate, origin
from flows.chunks import run_chunks
from flows.forms import ModelName, Samples, Seed, Side, SurveyName
from flows.hooks import HOOKS
from flows.progress import Progress
from flows.retries import LOCAL
from flows.runner import task_runner
from gzflow.prediction.predict import Precision
from gzflow.settings import Settings
from gzflow.stages import predict as stage
from gzflow.stages.counts import Counts
from gzflow.stages.drift import PICTURE
from gzflow.stages.evaluate import EvaluateOptions


@task(name="pin model", cache_policy=None)
def pin(options: stage.PredictOptions, settings: Settings) -> stage.PredictPlan:
    """The model version of this run, and the shards to predict."""
    return stage.plan(options, settings)


@task(name="predict", cache_policy=None, **LOCAL)
def predict_part(chunk: stage.PredictChunk, settings: Settings) -> Counts:
    """One part of the catalogue."""
    return stage.run_chunk(chunk, settings)


@task(name="close catalogue", cache_policy=None)
def close(plan: stage.PredictPlan, counts: Counts, settings: Settings) -> stage.PredictSummary:
    """The manifest, and the galleries."""
    return stage.finish(plan, counts, settings, flow_run=origin.flow_run())


def steps(options: stage.PredictOptions, settings: Settings, *, evaluation: bool = True) -> stage.PredictSummary:
    """The tasks of a prediction, inside whatever flow is running."""
    plan = pin(options, settings)
    with stage.alone(plan):
        counts = run_chunks(predict_part, plan.chunks, settings, Progress("predict", plan.n_galaxies))
        summary = close(plan, counts, settings)
    lines = [summary.sentence(), summary.drift_sentence()]
    if plan.survey != options.survey:
        lines.append(f"Nothing of {options.survey} was ingested yet: these are the demo's simulated galaxies.")
    artifacts.page("predict", f"Predictions for {summary.survey}", counts, lines)
    model, run = plan.pages
    artifacts.link("predict-model", model or "", f"{summary.model} version {summary.version}")
    artifacts.link("predict-run", run or "", "MLflow run that made it")
    if summary.gallery is not None:
        artifacts.picture("predict-gallery", "Top galaxies by answer", summary.gallery.read_bytes())
    if summary.drift is not None:
        artifacts.picture("predict-drift", "Drift from the training galaxies", (summary.folder / PICTURE).read_bytes())
    if evaluation:
        evaluate.steps(_evaluation(plan, options), settings)
    return summary


def _evaluation(plan: stage.PredictPlan, options: stage.PredictOptions) -> EvaluateOptions:
    """The evaluation of what was predicted, with the model as it was pinned; a training's own is found again."""
    pinned = plan.pinned
    model = options.model if pinned["version"] == stage.FILES else pinned["model_uri"]
    return EvaluateOptions(plan.survey, model, pixels=options.pixels, samples=pinned["samples"], seed=pinned["seed"])


# One part at a time: the network keeps every core busy by itself.
@flow(name="predict", flow_run_name=origin.run_name, task_runner=task_runner(1), **HOOKS)
def predict(
    survey: SurveyName,
    pixels: Side | None = None,
    model: ModelName | None = None,
    samples: Samples | None = None,
    seed: Seed = 42,
    allow_recipe_mismatch: bool = False,
    keep_concentrations: bool = False,
    precision: Precision = "auto",
    *,
    evaluation: bool = True,
    fresh: bool = False,
    or_simulated: bool = False,
) -> stage.PredictSummary:
    """Predict vote fractions with 90 % intervals for every galaxy of a survey's shards.

    Args:
        survey: A shipped survey's name, or the path of a TOML that describes yours; it needs shards.
        pixels: Side of the shards' images. Empty: the one set there is.
        model: A version number, challenger, any models:/ URI, or a saved model's folder. Empty: the survey's champion.
        samples: Dropout samples of the head a galaxy. Empty: the model's number.
        seed: Of the dropout.
        allow_recipe_mismatch: Predict on images made another way than the model's; every row is stamped.
        keep_concentrations: Write every sample's concentrations too.
        precision: Of the encoder; bfloat16 is faster on a CPU that has it and moves fractions by about 0.001.
        evaluation: Score the model on the test galaxies that volunteers saw: calibration, slices and a page.
        fresh: Leave an unfinished run of another model version and begin anew.
        or_simulated: As long as nothing of the survey was ingested, predict the demo's simulated sky of it.
    """
    options = stage.PredictOptions(
        survey=survey,
        pixels=pixels,
        model=model,
        samples=samples,
        seed=seed,
        allow_recipe_mismatch=allow_recipe_mismatch,
        keep_concentrations=keep_concentrations,
        precision=precision,
        fresh=fresh,
        or_simulated=or_simulated,
    )
    return steps(options, Settings.load(), evaluation=evaluation)
