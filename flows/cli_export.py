"""``gzflow export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import Progress

from flows.cli_options import AskedOption, RunOption, SurveyArgument, VolunteersOption
from flows.console import err, out
from gzflow.settings import Settings


def export(
    survey: SurveyArgument,
    file: Annotated[Path, typer.Option("--out", help="The file to write; it is replaced when the new one is whole.")],
    format: Annotated[  # noqa: A002 - the option's name
        Literal["fits", "votable", "csv", "hdf5", "parquet"] | None,
        typer.Option(help="Empty: what the file's name ends in. hdf5 is (galaxy, answer, pass), as Zoobot writes it."),
    ] = None,
    run: RunOption = None,
    asked: AskedOption = None,
    volunteers: VolunteersOption = None,
    log: Annotated[bool, typer.Option(help="Note the file in MLflow.")] = True,
) -> None:
    """Write a catalogue as one file that TOPCAT, astropy and Zoobot's tools open."""
    from gzflow.stages.export import ExportOptions
    from gzflow.stages.export import export as stage

    options = ExportOptions(survey, file, format, run, asked, volunteers, log)
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("galaxies", total=None)
        summary = stage(options, Settings.load(), lambda done, n: progress.update(task, completed=done, total=n))
    out.print(summary.sentence(), markup=False)
    if summary.url:
        out.print(summary.url, markup=False)
