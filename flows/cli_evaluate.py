"""``gzflow evaluate``."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli_options import PixelsOption, SamplesOption, SeedOption, SurveyArgument, next_step
from flows.console import out, show_logs
from flows.tables import by_column, show
from gzflow.settings import Settings
from gzflow.surveys import load_survey


def evaluate(
    survey: SurveyArgument,
    model: Annotated[str | None, typer.Option(help="Version number or models:/ URI. Empty: the champion.")] = None,
    run: Annotated[
        str | None, typer.Option(help="The run that made the model: its id or its first characters, or its name.")
    ] = None,
    pixels: PixelsOption = None,
    floor: Annotated[
        int | None, typer.Option(min=1, help="Fewest votes with which a galaxy counts. Empty: 10, or the usual number.")
    ] = None,
    weight_by: Annotated[
        list[str] | None,
        typer.Option(help="A carried column; repeatable. Scores are also weighted to its distribution among all."),
    ] = None,
    samples: SamplesOption = None,
    seed: SeedOption = 42,
) -> None:
    """Score a model on unseen test galaxies: beside constants, calibrated or not, by slice; ends with a page."""
    load_survey(survey)
    from gzflow.stages.evaluate import EvaluateOptions
    from gzflow.stages.evaluate import run as stage

    show_logs()
    summary = stage(
        EvaluateOptions(
            survey=survey,
            model=model,
            run=run,
            pixels=pixels,
            floor=floor,
            weight_by=tuple(weight_by or ()),
            samples=samples,
            seed=seed,
        ),
        Settings.load(),
    )
    show(by_column(summary.questions))
    out.print(summary.sample, markup=False)
    out.print(summary.sentence(), markup=False)
    out.print(f"page {summary.report}", markup=False)
    if summary.url:
        out.print(summary.url, markup=False)
    next_step(f"gzflow models {survey}")
