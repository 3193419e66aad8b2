"""Ingest: catalog file -> store -> one checked image a galaxy."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from prefect import flow, runtime, task

from flows import artifacts, events, origin, politeness, runner
from flows.chunks import run_chunks
from flows.forms import SurveyName
from flows.progress import Progress
from flows.retries import may_pass
from gzflow.errors import ServiceUnavailable
from gzflow.settings import Settings
from gzflow.stages import ingest as stage
from gzflow.stages.counts import Counts

RETRIES = 3


@task(name="read catalog", cache_policy=None)
def read_catalog(source: stage.IngestSource, settings: Settings) -> Counts:
    """Rows of the catalog, in the store."""
    return stage.read(source, settings)


@task(name="plan images", cache_policy=None)
def plan_images(source: stage.IngestSource, settings: Settings) -> stage.IngestPlan:
    """Chunks of the galaxies that have no image yet."""
    return stage.plan(source, settings)


@task(
    name="images",
    retries=RETRIES,
    retry_delay_seconds=[10, 60, 300],
    retry_jitter_factor=0.5,
    retry_condition_fn=may_pass,
    cache_policy=None,
)
def images(chunk: stage.IngestChunk, settings: Settings) -> Counts:
    """Images of one chunk; galaxies whose service was down are asked again by the task's retries."""
    host = stage.fetched_from(chunk)
    with politeness.turn(host) if host else nullcontext():
        counts = stage.run_chunk(chunk, settings)
    if counts.to_do and runtime.task_run.run_count <= RETRIES and stage.worth_waiting(chunk):
        raise ServiceUnavailable(
            f"{counts.to_do} of {counts.n_in} galaxies got no answer yet",
            where=chunk.survey,
            expected="an image or a final answer for each",
            fix="nothing: the task tries again",
        )
    return counts


@task(name="accounting", cache_policy=None)
def account(source: stage.IngestSource, settings: Settings) -> stage.IngestSummary:
    """Every galaxy in exactly one of done, filtered, failed, to do."""
    return stage.finish(source, settings)


def steps(what: stage.IngestSource, settings: Settings) -> stage.IngestSummary:
    """The tasks of an ingest, inside whatever flow is running."""
    threshold = events.threshold()
    with stage.alone(what, settings):
        read_catalog(what, settings)
        runner.everywhere(stage.forget_files)
        plan = plan_images(what, settings)
        run_chunks(images, plan.chunks, settings, Progress("ingest", sum(len(chunk.ids) for chunk in plan.chunks)))
        summary = account(what, settings)
    artifacts.page("ingest", f"Ingest of {summary.survey}", summary.counts, summary.notes)
    artifacts.table(
        "ingest-failures",
        "Failures by reason",
        [{"reason": reason, "galaxies": n} for reason, n in summary.reasons.items()],
    )
    artifacts.next_step(f"gzflow shard {what.survey}", "images and votes at training resolution")
    events.failures(summary.survey, "ingest", summary.counts, threshold)
    return summary


@flow(name="ingest", flow_run_name=origin.run_name, task_runner=runner.task_runner(2))
def ingest(
    survey: SurveyName,
    catalog: Path | None = None,
    mapping: Path | None = None,
    joins: dict[str, Path] | None = None,
    images_from: list[Path] | None = None,
    retry_failed: bool = False,
) -> stage.IngestSummary:
    """Read a catalog and get an image for each of its galaxies.

    Args:
        survey: A shipped survey's name, or the path of a TOML that describes yours.
        catalog: Table of galaxies and votes (CSV, Parquet, FITS, VOTable). Empty: what is in the store.
        mapping: Table from ids to file names, for surveys whose archive needs one (GZ2).
        joins: Further tables by the survey's name for them, e.g. gz2sample.
        images_from: Folders and ZIPs, read in place. Empty: the survey's cutout service.
        retry_failed: Ask again for galaxies whose answer was final.
    """
    source = stage.IngestSource.of(survey, catalog, mapping, joins, images_from, retry_failed=retry_failed)
    return steps(source, Settings.load())
