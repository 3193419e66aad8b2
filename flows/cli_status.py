"""``gzflow status``: how far each survey has come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flows.console import out
from flows.duration import duration
from gzflow.errors import SettingsError
from gzflow.settings import Settings
from gzflow.surveys import load_survey

if TYPE_CHECKING:
    from gzflow.stages.status import SurveyStatus


def status(
    survey: Annotated[str | None, typer.Argument(help="One survey. Empty: all in the store.")] = None,
    failures: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="Write the survey's failure table to this CSV file: stage, id, reason, detail."
        ),
    ] = None,
) -> None:
    """What is in the store, how fast images come in, the shards and the predictions."""
    from gzflow.stages.status import export_failures
    from gzflow.stages.status import status as look

    settings = Settings.load()
    if survey is not None and survey.endswith(".toml"):
        survey = load_survey(survey).name
    if failures is not None and survey is None:
        raise SettingsError("--failures needs a survey", fix="write gzflow status SURVEY --failures FILE.csv")
    found = look(settings, survey)
    if not found:
        out.print(f"nothing ingested yet under {settings.home}")
        return
    _show(found)
    if failures is not None and survey is not None:
        out.print(f"failure table, {export_failures(settings, survey, failures):,} rows: {failures}", markup=False)
        return
    for row in found:
        if row.reasons:
            reasons = ", ".join(f"{n:,} {reason}" for reason, n in row.reasons.items())
            out.print(
                f"{row.survey}: failures: {reasons}; each of them: gzflow status {row.survey} --failures FILE.csv",
                markup=False,
            )


def _show(found: Sequence[SurveyStatus]) -> None:
    table = Table("survey", "galaxies", "images", "to do", "no coverage", "failed", box=None)
    for row in found:
        numbers = [row.galaxies, *(row.images[state] for state in ("done", "to-do", "no-coverage", "failed"))]
        table.add_row(row.survey, *(f"{number:,}" for number in numbers))
    out.print(table)
    for row in found:
        if row.pace is not None:
            out.print(f"{row.survey}: {_pace(row)}", markup=False)
        for kind, sets in (("shards", row.shards), ("predictions", row.predictions)):
            for name, n in sets.items():
                out.print(f"{row.survey}: {kind} {name}, {n:,} galaxies", markup=False)


def _pace(row: SurveyStatus) -> str:
    pace = row.pace
    if pace is None or row.seconds_left is None:
        return ""
    rate = f"{pace.galaxies_per_s:,.1f} galaxies a second"
    size = f", {pace.bytes_per_image / 1000:,.1f} kB an image" if pace.bytes_per_image else ""
    if not row.images["to-do"]:
        return f"nothing to do; the latest run, until {pace.last:%Y-%m-%d %H:%M} UTC, made {rate}{size}"
    ago = duration((datetime.now(UTC) - pace.last).total_seconds())
    left = duration(row.seconds_left)
    if pace.going_on:
        return f"{rate}{size}, latest {ago} ago; {left} left at this pace"
    return (
        f"no image for {ago}; the {row.images['to-do']:,} to do take {left} at the pace of the latest run, {rate}{size}"
    )
