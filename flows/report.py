"""Report: the page of a pipeline run."""

from __future__ import annotations

import shlex

from prefect import task

from flows import artifacts
from gzflow.settings import Settings
from gzflow.stages import report as stage


@task(name="report", cache_policy=None)
def write(run: stage.PipelineRun, settings: Settings) -> stage.ReportSummary:
    """One HTML page."""
    return stage.build(run, settings)


def steps(run: stage.PipelineRun, settings: Settings) -> stage.ReportSummary:
    """The report's task, inside whatever flow is running."""
    summary = write(run, settings)
    artifacts.page("report", "Report", None, [f"`{summary.report}`", run.trained.sentence(), run.predicted.sentence()])
    longer = f"gzflow train {shlex.quote(run.survey)} --epochs {2 * run.trained.n_epochs}"
    artifacts.next_step(longer, "train longer: it becomes the challenger")
    return summary
