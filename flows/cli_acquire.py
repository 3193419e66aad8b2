"""``gzflow acquire``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flows.cli_options import start
from flows.console import out, show_logs
from gzflow.settings import Settings
from gzflow.stages.free_space import readable


def acquire(
    record: Annotated[str, typer.Argument(help="zenodo:4573248, a DOI of Zenodo, or the address of a record's page.")],
    files: Annotated[
        list[str] | None, typer.Option(help="Name or pattern such as '*_5.parquet'; repeatable. Empty: all files.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Folder for the files. Empty: one of the home.")] = None,
    only_list: Annotated[bool, typer.Option("--list", help="Show the record's files and fetch nothing.")] = False,
) -> None:
    """Fetch files of a published record: several at a time, resumed after any interruption, md5 verified."""
    from gzflow.stages import acquire as stage

    settings = Settings.load()
    if only_list:
        found = stage.look(record, settings)
        table = Table("file", "size", "md5", title=f"{found.title} ({found.licence or 'licence: see the record'})")
        for file in found.chosen(tuple(files or ())):
            table.add_row(file.name, readable(file.size), file.md5)
        out.print(table)
        return
    plan = stage.plan(record, files, to, settings)
    out.print(f"{plan.record.title}: {len(plan.files)} files, {readable(plan.bytes_missing)} to fetch")
    start()
    from flows.acquire import acquire as flow

    show_logs()
    summary = flow(record=record, files=files, to=to)
    out.print(f"{summary.sentence()}: {summary.folder}")
    if any(file.path.suffix in {".zip", ".tar"} for file in summary.files):
        out.print(f"ZIP and tar files are read in place: gzflow ingest SURVEY --images {summary.folder}", markup=False)
