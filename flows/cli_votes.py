"""``gzflow votes``."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from flows.cli_options import SurveyArgument, next_step
from flows.console import out as console
from flows.console import show_logs


def votes(
    export: Annotated[
        Path,
        typer.Argument(help="A Zooniverse classifications export, or question reductions of panoptes-aggregation."),
    ],
    survey: SurveyArgument,
    out: Annotated[Path, typer.Option(help="The table to write: .csv or .parquet.")] = Path("votes.csv"),
    tasks: Annotated[
        Path | None,
        typer.Option(
            help="TOML: which task is which question. Empty: taken from the names, or a first one is written."
        ),
    ] = None,
    subjects: Annotated[Path | None, typer.Option(help="The project's subjects export; reductions need it.")] = None,
    catalog: Annotated[
        Path | None, typer.Option(help="Table of the same galaxies with the survey's other columns: positions, sizes.")
    ] = None,
    keep: Annotated[
        Literal["first", "last", "all"], typer.Option(help="Of one person's classifications of one subject.")
    ] = "first",
    logged_out: Annotated[
        Literal["by-name", "each", "drop"],
        typer.Option(help="Volunteers without account: one person a name, each classification a person, or none."),
    ] = "by-name",
) -> None:
    """Count a Zooniverse export's votes into the table that `gzflow ingest` reads; personal data are not kept."""
    from gzflow.stages.votes import count_votes

    show_logs()
    summary = count_votes(
        export, survey, out, tasks=tasks, subjects=subjects, catalog=catalog, keep=keep, logged_out=logged_out
    )
    console.print(f"[bold]{summary.survey}[/]: {summary.sentence()}")
    for reason, n in sorted(summary.answers_left_out.items()):
        console.print(f"  {n:,} answers of counted rows left out: {reason}")
    if summary.rows_left_out or summary.answers_left_out:
        console.print(f"  each of them: {summary.left_out_file}", markup=False)
    if summary.empty:
        console.print(f"  empty, give a table that has them with --catalog: {', '.join(summary.empty)}", markup=False)
    if summary.unknown:
        console.print(f"  {len(summary.unknown):,} galaxies are not in the catalog, first: {summary.unknown[0]}")
    next_step(f"gzflow ingest {quote(survey)} --catalog {quote(str(summary.file))}")
