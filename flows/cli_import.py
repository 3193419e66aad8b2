"""``gzflow import-run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_options import next_step
from flows.console import out, show_logs
from gzflow.settings import Settings


def import_run(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished training, from here or from another machine.")],
    shards: Annotated[
        Path | None,
        typer.Option(help="Its shards, if it was never scored. Empty: those in the home."),
    ] = None,
) -> None:
    """Bring a training that was done without MLflow, or with another one, into MLflow, once."""
    from gzflow.stages.import_run import import_run as stage

    show_logs()
    summary = stage(folder, Settings.load(), shards=shards)
    out.print(("here already: " if summary.reused else "") + summary.sentence())
    if summary.alias == "challenger":
        next_step(f"gzflow promote {summary.survey}")
