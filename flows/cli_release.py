"""``gzflow diff`` and ``gzflow release``: what changed between two catalogues, and one made ready for an archive."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from flows.cli_options import AskedOption, RunOption, VolunteersOption
from flows.console import err, out
from flows.tables import plain, show
from gzflow.errors import SettingsError
from gzflow.settings import Settings

if TYPE_CHECKING:
    from gzflow.evaluation.changes import SliceChange
    from gzflow.stages.diff import CatalogueDiff


class CatalogueFormat(StrEnum):
    """Formats of a catalogue: typer knows no lists of literals."""

    FITS = "fits"
    VOTABLE = "votable"
    CSV = "csv"
    HDF5 = "hdf5"
    PARQUET = "parquet"


CatalogueArgument = Annotated[
    str,
    typer.Argument(help="Folder of a prediction run or a release, a file of `gzflow export`, SURVEY/RUN, SURVEY."),
]


def diff(
    first: CatalogueArgument,
    second: CatalogueArgument,
    asked: Annotated[
        float, typer.Option(min=0, max=1, help="A question counts where one of them expects this share to be asked it.")
    ] = 0.5,
    by: Annotated[
        list[str] | None, typer.Option(help="Column to slice by; repeatable. Empty: the split and all carried columns.")
    ] = None,
    rows: Annotated[Path | None, typer.Option(help="Write each answer that changed, as .parquet or .csv.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the changes by question and slice: .png, .jpg, .svg, .pdf.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Show each question in each slice.")] = False,
) -> None:
    """Which answers changed from one catalogue to another, beyond their intervals, in all and by slice."""
    from gzflow.stages.diff import DiffOptions
    from gzflow.stages.diff import diff as stage

    found = stage(DiffOptions(first, second, asked, tuple(by or ()), rows, picture), Settings.load())
    _print_diff(found, asked, every=every)
    for what, path in (("rows", rows), ("picture", picture)):
        if path is not None and path.is_file():
            out.print(f"{what} {path}", markup=False)


def release(
    survey: Annotated[
        str | None, typer.Argument(help="A shipped survey's name (`gzflow surveys`) or the path of a TOML.")
    ] = None,
    *,
    to: Annotated[Path | None, typer.Option(help="The folder to make.")] = None,
    check: Annotated[Path | None, typer.Option(help="Verify the release in this folder; nothing is written.")] = None,
    format: Annotated[  # noqa: A002 - the option's name
        list[CatalogueFormat] | None,
        typer.Option(help="Of the catalogue; repeatable, one file each. Empty: parquet."),
    ] = None,
    run: RunOption = None,
    asked: AskedOption = None,
    volunteers: VolunteersOption = None,
    author: Annotated[
        list[str] | None, typer.Option(help="'Family, Given', 'Family, Given, ORCID' or a group; repeatable.")
    ] = None,
    version: Annotated[str, typer.Option(help="Of the release. Empty: the prediction run's name.")] = "",
    licence: Annotated[
        str, typer.Option(help="Of the catalogue, such as 'CC BY 4.0'. Empty: the survey's words.")
    ] = "",
    doi: Annotated[str | None, typer.Option(help="If the archive has reserved one.")] = None,
    date: Annotated[str | None, typer.Option(help="Of the release, YYYY-MM-DD.")] = None,
    model: Annotated[bool, typer.Option(help="Put the model's weights into it.")] = True,
    log: Annotated[bool, typer.Option(help="Note the release in MLflow.")] = True,
) -> None:
    """Make a folder for an archive: catalogue, dictionary, model card, citation, licence, checksums; or check one."""
    if check is not None and survey is None and to is None:
        from gzflow.stages.release_check import check as verify

        out.print(verify(check).sentence(), markup=False)
        return
    if check is not None or survey is None or to is None:
        raise SettingsError(
            "it is not clear what to do",
            expected="gzflow release SURVEY --to FOLDER, or gzflow release --check FOLDER",
        )
    from gzflow.stages.release import ReleaseOptions
    from gzflow.stages.release import release as stage

    options = ReleaseOptions(
        survey=survey,
        to=to,
        formats=tuple(each.value for each in dict.fromkeys(format or (CatalogueFormat.PARQUET,))),
        run=run,
        asked=asked,
        volunteers=volunteers,
        authors=tuple(author or ()),
        version=version,
        licence=licence,
        doi=doi,
        date=date,
        model=model,
        log=log,
    )
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("galaxies", total=None)
        summary = stage(options, Settings.load(), lambda done, n: progress.update(task, completed=done, total=n))
    out.print(summary.sentence(), markup=False)
    for note in summary.notes:
        out.print(f"note: {note}", markup=False)
    if summary.url:
        out.print(summary.url, markup=False)


def _print_diff(found: CatalogueDiff, asked: float, *, every: bool) -> None:
    out.print(f"first  {found.first}\nsecond {found.second}\n{found.sentence()}", markup=False)
    for note in found.notes:
        out.print(note, markup=False)
    if found.facts:
        facts = plain("", "first", "second", numbers=slice(0))
        for row in found.facts:
            facts.add_row(*row)
        out.print()
        show(facts)
    table = plain(
        "question", "galaxies", "changed", "", "other\nfirst", "moved\nby", "most often", numbers=slice(1, -1)
    )
    table.columns[0].min_width = max(len(entry.question) for entry in found.questions)
    for entry in found.questions:
        share = f"{100 * entry.n_changed / entry.n:.1f} %" if entry.n else "–"
        first, distance = (f"{100 * entry.other_first:.1f} %", f"{entry.distance:.3f}") if entry.n else ("–", "–")
        table.add_row(
            entry.question, f"{entry.n:,}", f"{entry.n_changed:,}", share, first, distance, entry.commonest or "–"
        )
    out.print()
    show(table)
    if withheld := {entry.question: entry.withheld for entry in found.questions if entry.withheld}:
        told = ", ".join(f"{name} ({n:,} galaxies)" for name, n in withheld.items())
        out.print(f"without intervals in one of them, so not compared: {told}", markup=False)
    out.print(
        f"galaxies: in both, where {asked:.0%} or more would be asked in one of them; changed: an answer's two"
        " intervals have no value in common; other first: its likeliest answer is another; moved by: mean over answers",
        markup=False,
    )
    if found.slices:
        out.print()
        show(_slices(found.slices, every=every))


def _slices(changes: tuple[SliceChange, ...], *, every: bool) -> Table:
    table = plain("by", "slice", "galaxies", "changed", "", "question", numbers=slice(0))
    for entry in changes if every else changes[: sum(one.question == changes[0].question for one in changes)]:
        table.add_row(
            entry.variable, entry.label, f"{entry.n:,}", f"{entry.n_changed:,}", f"{100 * entry.share:.1f} %",
            entry.question,
        )  # fmt: skip
    return table
