"""Commands about models: which there are, how two compare, who is champion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flows.cli_options import SurveyArgument, next_step, start
from flows.console import out, show_logs
from flows.tables import by_column, plain, show
from gzflow.settings import Settings
from gzflow.surveys import load_survey

if TYPE_CHECKING:
    from gzflow.stages.compare import RunComparison
    from gzflow.stages.promote import PromotionSummary

RunArgument = Annotated[
    str, typer.Argument(help="A run's id or its first characters, its name, or a version: decals/3, decals@champion.")
]


DECISIONS = 20
"""Latest decisions that `gzflow models` lists."""


def models(survey: SurveyArgument) -> None:
    """The versions of a survey's model: aliases, scores, parents and decisions."""
    from gzflow.tracking.overview import list_versions

    name = load_survey(survey).name
    versions, history = list_versions(Settings.load(), name)
    if not versions:
        out.print(f"no model of {name} is registered yet; `gzflow train {survey}` makes the first", markup=False)
        return
    table = plain("version", "alias", "made (UTC)", "test NLL", "skill", "90 % holds", "galaxies", "run", "parent")
    for row in versions:
        scores = row.scores
        table.add_row(
            row.version,
            " ".join(row.aliases),
            f"{row.made:%Y-%m-%d %H:%M}",
            _number(scores.get("test/nll")),
            _number(scores.get("test/skill")),
            _percent(scores.get("test/coverage90")),
            f"{scores['test/galaxies']:,.0f}" if "test/galaxies" in scores else "–",
            (row.run_id or "gone")[:8],
            (row.parent or "–").removeprefix("models:/gzflow-"),
        )
    show(table)
    if history:
        out.print()
        decisions = plain("decided (UTC)", "version", "champion", "outcome", "why", numbers=slice(0))
        for decision in history[-DECISIONS:]:
            when = decision.at[:16].replace("T", " ")
            why = decision.reasons[0] if decision.reasons else ""
            decisions.add_row(when, decision.version, decision.champion or "–", decision.outcome, why)
        show(decisions)


def compare(
    first: RunArgument,
    second: RunArgument,
    picture: Annotated[Path | None, typer.Option(help="Draw what the second gains: .png, .jpg, .svg or .pdf.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Show what is equal too.")] = False,
) -> None:
    """Two runs side by side: what went in differently, what came out, and which is better where both were tested."""
    from gzflow.stages.compare import compare as stage

    found = stage(first, second, Settings.load(), picture=picture)
    _print_comparison(found, every=every)
    if picture is not None and found.gains:
        out.print(f"\npicture {picture}", markup=False)


def promote(
    survey: SurveyArgument,
    challenger: Annotated[
        str | None, typer.Option(help="Version number. Empty: the one with the alias challenger.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Promote whatever the comparison says; logged as forced.")] = False,
) -> None:
    """Make the challenger champion if it is better on the same test galaxies, and calibrated."""
    load_survey(survey)
    start()
    from flows.promote import promote as flow

    show_logs()
    summary = flow(survey=survey, challenger=challenger, force=force)
    if summary.decision is not None and summary.decision.rows:
        show(by_column(summary.decision.readable()))
        out.print()
        show(by_column(summary.decision.changes()))
        out.print("changes in points, MAE in vote fractions; 95 % paired bootstrap intervals")
        out.print(summary.accounting())
    _print_outcome(summary, survey)


def rollback(survey: SurveyArgument) -> None:
    """Make the champion before the present one champion again; once more goes one further back."""
    from gzflow.stages.promote import rollback_target

    rollback_target(survey, Settings.load())
    start()
    from flows.promote import rollback as flow

    show_logs()
    _print_outcome(flow(survey=survey), survey)


def _print_outcome(summary: PromotionSummary, survey: str) -> None:
    out.print(f"[bold]{summary.model} version {summary.version}[/]", end=": ")
    out.print(summary.sentence().partition(": ")[2], markup=False)
    if summary.url:
        out.print(summary.url, markup=False)
    if summary.promoted:
        next_step(f"gzflow predict {survey}")


def _print_comparison(found: RunComparison, *, every: bool) -> None:
    from gzflow.evaluation.comparison import change_rows
    from gzflow.evaluation.selection import at_least

    letters = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(5):  # names are for copying: folded, not cut
        letters.add_column(overflow="fold")
    for letter, run in (("A", found.first), ("B", found.second)):
        made = f"  {', '.join(run.versions)}" if run.versions else ""
        letters.add_row(f"[bold]{letter}[/]", run.name, run.id[:8], f"{run.started:%Y-%m-%d %H:%M}", run.status + made)
    show(letters)
    out.print()
    if found.differences:
        table = plain("", "", "A", "B", numbers=slice(0))
        kind = ""
        for entry in found.differences:
            table.add_row(
                "" if entry.kind == kind else entry.kind, entry.name, *map(_text, (entry.first, entry.second))
            )
            kind = entry.kind
        show(table)
    else:
        out.print("parameters, data, code and parent are the same")
    out.print()
    table = plain("metric", "A", "B", "B − A")
    for pair in found.metrics:
        if every or not pair.same:
            change = "–"
            if pair.first is not None and pair.second is not None:
                change = f"{pair.second - pair.first:+.4g}".replace("-", "−")
            table.add_row(pair.name, _short(pair.first), _short(pair.second), change)
    if table.row_count:
        show(table)
    else:
        out.print("all metrics are the same")
    out.print()
    if found.gains:
        out.print(f"On the {found.n_galaxies:,} test galaxies of both (questions: with {at_least(found.floor)}):")
        words = {"second": "B is better", "first": "A is better", "neither": "not decided"}
        rows = [
            {
                "question": gain.question,
                "galaxies": f"{gain.n:,}",
                "NLL A": _number(gain.first),
                "NLL B": _number(gain.second),
                "gain of B (95 %)": f"{gain.gain.mean:+.3f} ({gain.gain.lower:+.3f} to {gain.gain.upper:+.3f})".replace(
                    "-", "−"
                ),
                "": words[gain.better],
            }
            for gain in found.gains
            if gain.n or every
        ]
        show(by_column(rows))
        out.print()
        show(by_column(change_rows([gain for gain in found.gains if gain.n or every])))
        out.print("of B, and B − A: in points, MAE in vote fractions; 95 % paired bootstrap intervals")
    for note in found.notes:
        out.print(note, markup=False)


def _text(value: str | None) -> str:
    return "–" if value is None else value.removeprefix("models:/")


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}"  # noqa: PLR0124 - NaN is not itself


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"
