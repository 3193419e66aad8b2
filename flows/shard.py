"""Shard: images and votes at training resolution."""

from __future__ import annotations

from prefect import flow, task

from flows import artifacts, events, origin
from flows.chunks import run_chunks
from flows.forms import Side, SurveyName
from flows.progress import Progress
from flows.retries import LOCAL
from flows.runner import task_runner
from gzflow.settings import Settings
from gzflow.shards.header import Codec
from gzflow.stages import shard as stage
from gzflow.stages.counts import Counts


@task(name="plan shards", cache_policy=None)
def plan_shards(survey: str, settings: Settings, pixels: int, codec: Codec) -> stage.ShardPlan:
    """The shards that the store's images make."""
    return stage.plan(survey, settings, pixels=pixels, codec=codec)


@task(name="shard", cache_policy=None, **LOCAL)
def write_shard(chunk: stage.ShardChunk, settings: Settings) -> Counts:
    """One HDF5 file."""
    return stage.run_chunk(chunk, settings)


@task(name="close shard set", cache_policy=None)
def close(plan: stage.ShardPlan, counts: Counts) -> stage.ShardSummary:
    """The manifest."""
    return stage.finish(plan, counts)


def steps(survey: str, settings: Settings, *, pixels: int, codec: Codec = "raw") -> stage.ShardSummary:
    """The tasks that write a set of shards, inside whatever flow is running."""
    threshold = events.threshold()
    with stage.alone(survey, settings, pixels=pixels):
        plan = plan_shards(survey, settings, pixels, codec)
        counts = run_chunks(write_shard, plan.chunks, settings, Progress("shard", plan.n_galaxies))
        summary = close(plan, counts)
    lines = [f"- {split}: {n:,} galaxies" for split, n in summary.splits.items()]
    artifacts.page(
        "shard", f"Shards of {summary.survey}, {pixels} px", counts, ["\n".join(lines), f"Folder: `{summary.folder}`"]
    )
    artifacts.next_step(f"gzflow train {survey}", "a model that knows what volunteers would say")
    events.failures(summary.survey, "shard", counts, threshold)
    return summary


@flow(name="shard", flow_run_name=origin.run_name, task_runner=task_runner(2))
def shard(survey: SurveyName, pixels: Side = 300, codec: Codec = "raw") -> stage.ShardSummary:
    """Write the survey's images and votes as HDF5 shards, split into train, validation and test by sky cell.

    Args:
        survey: A shipped survey's name, or the path of a TOML that describes yours; it needs images.
        pixels: Side of the stored images; a model trained on 300 sees crops of 224, smaller ones are used whole.
        codec: raw is fastest; jpeg takes a tenth of the space.
    """
    return steps(survey, Settings.load(), pixels=pixels, codec=codec)
