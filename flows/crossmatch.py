"""Cross-match: which galaxies of two surveys are the same object."""

from __future__ import annotations

from typing import Annotated

from prefect import flow, task
from pydantic import Field

from flows import artifacts, origin
from flows.forms import SurveyName
from gzflow.settings import Settings
from gzflow.stages import crossmatch as stage


@task(name="crossmatch", cache_policy=None)
def match(chunk: stage.CrossmatchChunk, settings: Settings) -> stage.CrossmatchSummary:
    """Matches of one pair of surveys."""
    return stage.run_chunk(chunk, settings)


@flow(name="crossmatch", flow_run_name=origin.run_name)
def crossmatch(
    left: SurveyName,
    right: SurveyName,
    radius: Annotated[float, Field(gt=0, le=3600)] = 2.0,
    how: stage.How = "nearest",
) -> stage.CrossmatchSummary:
    """Match the galaxies of two ingested surveys on the sky.

    Args:
        left: A shipped survey's name or the path of a TOML; it must be in the catalog store.
        right: Another one.
        radius: Largest separation in arcsec, inclusive. Exceed the positions' own errors (0.1 arcsec for GZ2).
        how: All pairs within the radius, the nearest right galaxy of each left one, or mutual best pairs.
    """
    settings = Settings.load()
    (chunk,) = stage.plan(left, right, radius, how, settings)
    summary = match(chunk, settings)
    artifacts.page("crossmatch", f"{summary.left} x {summary.right}", None, [summary.sentence()])
    artifacts.table("crossmatch-table", "Matches", summary.rows())
    for name, file in summary.pictures.items():
        artifacts.picture(f"crossmatch-{name}", name.capitalize(), file.read_bytes())
    if any(summary.n_moved):
        commands = [f"gzflow shard {survey}" for survey in (left, right)]
        artifacts.next_step("\n".join(commands), "their objects share a split now; shards of before may part some")
    return summary
