"""Cross-match: which galaxies of two surveys are the same object."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from prefect import flow, task
from pydantic import Field

from flows import artifacts, origin
from flows.forms import SurveyName
from gzflow.evaluation.figures import figure_png, separation_histogram
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
    rows = [{"": key.replace("_", " "), "value": str(value)} for key, value in asdict(summary).items()]
    artifacts.page("crossmatch", f"{left} x {right}", None, [f"File: `{summary.file}`"])
    artifacts.table("crossmatch-table", "Matches", rows)
    if summary.n_matches:
        figure = separation_histogram(stage.separations(settings, summary.left, summary.right).to_numpy(), radius)
        artifacts.picture("crossmatch-separations", "Separations of the pairs", figure_png(figure))
    return summary
