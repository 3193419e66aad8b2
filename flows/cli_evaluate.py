"""``gzflow evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flows.cli_options import PixelsOption, SamplesOption, SeedOption, SurveyArgument, next_step
from flows.console import out, show_logs
from gzflow.settings import Settings
from gzflow.surveys import load_survey

if TYPE_CHECKING:
    from gzflow.evaluation.metrics import Evaluation


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
    if summary.evaluation is not None:
        out.print(_questions(summary.evaluation), soft_wrap=False)
        out.print(
            f"galaxies where at least half of the volunteers were asked, {summary.evaluation.floor} votes or more"
            f" (MAE: {summary.evaluation.fraction_floor}); gain: NLL of the constant Dirichlet less the model's, with"
            " its 95 % bootstrap interval",
            markup=False,
        )
    out.print(summary.sentence(), markup=False)
    out.print(f"page {summary.report}", markup=False)
    if summary.url:
        out.print(summary.url, markup=False)
    next_step(f"gzflow models {survey}")


def _questions(evaluation: Evaluation) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    columns = ("question", "n", "gain (95 %)", "agree", "majority", "F1", "MAE", "constant", "90 %\nholds")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", overflow="fold")
    for score in evaluation.over("half-asked"):
        if not score.n:
            table.add_row(score.question, "0", *["–"] * 7)
            continue
        gain = f"{score.gain.mean:+.3f} ({score.gain.lower:+.3f}, {score.gain.upper:+.3f})".replace("-", "−")
        table.add_row(
            score.question,
            f"{score.n:,}",
            gain,
            f"{100 * score.accuracy:.1f}",
            f"{100 * score.majority_accuracy:.1f}",
            f"{score.macro_f1:.2f}",
            f"{score.mae:.3f}" if score.n_fractions else "–",
            f"{score.mae_constant:.3f}" if score.n_fractions else "–",
            f"{100 * score.coverage:.1f}",
        )
    return table
