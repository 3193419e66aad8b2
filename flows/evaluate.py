"""Evaluate: a model's scores on unseen test galaxies, as a step of the flows that make or use one."""

from __future__ import annotations

from prefect import task

from flows import artifacts, origin
from gzflow.settings import Settings
from gzflow.stages import evaluate as stage


@task(name="evaluate", cache_policy=None)
def score(options: stage.EvaluateOptions, settings: Settings) -> stage.EvaluateSummary | stage.NotEvaluated:
    """Scores, calibration and slices in one page, or why there are none."""
    return stage.run_where_voted(options, settings, flow_run=origin.flow_run())


def steps(options: stage.EvaluateOptions, settings: Settings) -> None:
    """The evaluation's task, inside whatever flow is running."""
    summary = score(options, settings)
    if isinstance(summary, stage.NotEvaluated):
        artifacts.page("evaluate", f"{summary.survey} was not evaluated", None, [f"{summary.reason}."])
        return
    artifacts.page("evaluate", f"Evaluation of {summary.model}", None, [summary.sentence(), f"`{summary.report}`"])
    artifacts.link("evaluate-run", summary.url or "", "MLflow run with the page, its figures and every galaxy's scores")
    artifacts.table("evaluate-scores", f"Scores on the test galaxies: {summary.sample}", summary.questions)
