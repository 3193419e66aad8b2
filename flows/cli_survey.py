"""Commands about survey descriptions: draw a tree, check a TOML against a table, begin a new one."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flows.cli_options import JoinOption, MappingOption, next_step, read_joins
from flows.console import out
from gzflow.errors import SettingsError, SurveyError
from gzflow.surveys import Survey, load_survey
from gzflow.surveys.describe import tree_lines

if TYPE_CHECKING:
    from gzflow.catalog.draft import QuestionDraft, SurveyDraft
    from gzflow.catalog.read import CatalogTable

app = typer.Typer(
    help="Describe a survey: draw its decision tree, check its TOML, begin a new one.", no_args_is_help=True
)

NameArgument = Annotated[str, typer.Argument(help="A shipped survey's name (`gzflow surveys`) or the path of a TOML.")]

SHOWN = 4
"""Galaxies of the first rows that `check` shows."""


@app.command()
def tree(
    survey: NameArgument,
    to: Annotated[
        Path | None, typer.Option("--out", help="Picture, .svg or .png. Empty: <survey>-tree.svg in this folder.")
    ] = None,
) -> None:
    """Draw a survey's decision tree: its questions, their answers, and what leads where."""
    known = load_survey(survey)
    out.print(f"tree  [bold]{_draw(known, to or Path(f'{known.name}-tree.svg'))}[/]")


@app.command()
def check(
    survey: NameArgument,
    catalog: Annotated[
        Path | None, typer.Option(help="Its table: the mapping is shown against the first rows.")
    ] = None,
    mapping: MappingOption = None,
    join: JoinOption = None,
    picture: Annotated[
        Path | None, typer.Option(help="Where to draw the tree, .svg or .png. Empty: <survey>-tree.svg beside a TOML.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="First rows to read.")] = 500,
) -> None:
    """Validate a survey, show its tree in words and as a picture, and its mapping against a table's first rows."""
    joins = read_joins(join)
    if catalog is None and (joins or mapping is not None):
        raise SettingsError("--join and --mapping are read beside a catalog", fix="name its table with --catalog")
    known = load_survey(survey)
    questions, answers = len(known.described.questions), len(known.described.answers)
    out.print(f"[bold]{known.name}[/] is a valid survey; questions: {questions}, answers: {answers}\n")
    for line in tree_lines(known.described):
        out.print(line, markup=False)
    if picture is None and Path(survey).is_file():
        picture = Path(survey).with_name(f"{known.name}-tree.svg")
    if picture is not None:
        out.print(f"\ntree  [bold]{_draw(known, picture)}[/]")
    if catalog is None:
        return
    from gzflow.catalog.preview import preview_catalog

    found = preview_catalog(known, catalog, joins=joins, mapping=mapping, rows=rows)
    _show_galaxies(found)
    _show_votes(known, found)
    for note in found.notes:
        out.print(f"note: {note}", markup=False)
    for failure in found.failures[:SHOWN]:
        out.print(f"fails: {failure.id_str}: {failure.reason}: {failure.detail}", markup=False)
    out.print(
        f"\nof the first {found.n_read:,} rows: {len(found.galaxies):,} galaxies, {found.n_filtered:,} left out by the"
        f" filter, {found.n_failed:,} failed"
    )
    beside = "".join(f" --join {quote(entry)}" for entry in join or [])
    beside += f" --mapping {quote(str(mapping))}" if mapping is not None else ""
    next_step(f"gzflow ingest {quote(survey)} --catalog {quote(str(catalog))}{beside}")


@app.command()
def new(
    catalog: Annotated[Path, typer.Argument(help="A table of galaxies: its columns are looked at.")],
    to: Annotated[
        Path | None, typer.Option("--out", help="The TOML. Empty: <table's name>.toml in this folder.")
    ] = None,
    ask: Annotated[
        bool | None, typer.Option("--ask/--no-ask", help="Ask what columns cannot tell. Empty: on a terminal.")
    ] = None,
) -> None:
    """Begin a survey's TOML from a table's columns; asks what it cannot know, or says so in comments."""
    from gzflow.catalog.draft import draft_survey
    from gzflow.catalog.draft_toml import draft_toml
    from gzflow.durable import write_bytes

    draft = draft_survey(catalog)
    if draft.extends:
        name, *others = draft.extends
        out.print(
            f"the table has all columns of [bold]{name}[/] ({load_survey(name).about.title}): nothing to describe"
        )
        if others:
            out.print(f"and of {', '.join(others)}")
        next_step(f"gzflow ingest {name} --catalog {quote(str(catalog))}")
    if draft.predictions:
        out.print(
            f"the table has predictions of all answers of [bold]{draft.predictions[0]}[/], and no votes:"
            " to compare with them, read it with gzflow.catalog.published.read_published"
        )
    if ask if ask is not None else sys.stdin.isatty() and sys.stdout.isatty():
        draft = _asked(draft)
    file = to or Path(f"{draft.name}.toml")
    if file.exists():
        raise SettingsError("the file exists", where=str(file), fix="name another with --out, or remove this one")
    write_bytes(file, draft_toml(draft).encode())
    out.print(f"survey  [bold]{file}[/]: read it, its comments say what was seen and what only you know")
    try:
        load_survey(file)
    except SurveyError as error:
        out.print("it does not load yet:")
        for problem in error.problems:
            out.print(f"  - {problem}", markup=False)
    next_step(f"gzflow survey check {quote(str(file))} --catalog {quote(str(catalog))}")


def _draw(survey: Survey, file: Path) -> Path:
    """Write the picture of a survey's tree; the suffix says which kind."""
    if file.suffix.lower() not in {".svg", ".png"}:
        raise SettingsError(
            "this kind of picture cannot be drawn", where=str(file), expected="a name that ends in .svg or .png"
        )
    if file.is_dir():
        raise SettingsError("a folder has the picture's name", where=str(file), fix="name a file in it")
    from gzflow.durable import write_bytes
    from gzflow.evaluation.figures.decision_tree import decision_tree
    from gzflow.evaluation.figures.style import figure_png, figure_svg

    figure = decision_tree(survey.tree, title=survey.about.title or survey.name, subtitle=survey.about.citation)
    write_bytes(file, figure_svg(figure) if file.suffix.lower() == ".svg" else figure_png(figure))
    return file


def _show_galaxies(found: CatalogTable) -> None:
    names = ("id_str", "ra", "dec", "pixscale", "image")
    table = Table("galaxy", "ra (deg)", "dec (deg)", "arcsec/pixel", "image", box=None)
    for row in found.galaxies.head(SHOWN).select(names).iter_rows():
        table.add_row(*("–" if cell is None else f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row))
    out.print()
    out.print(table)


def _show_votes(survey: Survey, found: CatalogTable) -> None:
    pairs = survey.vote_columns()
    if not pairs:
        out.print("\nno votes: the survey can only be predicted")
        return
    first = found.votes.head(SHOWN)
    out.print(f"\nvotes of {', '.join(first['id_str'])}, and the columns they come from", markup=False)
    tree = survey.described
    width = max(len(answer) for q in tree.questions for answer in q.answers)
    for question, part in zip(tree.questions, tree.slices, strict=True):
        total = pairs[part.start][1]
        out.print(f"{question.name}" + (f"   (total: {total})" if total else ""), markup=False)
        for answer, name, (column, _) in zip(question.answers, question.given, pairs[part], strict=True):
            numbers = " ".join(f"{n:>5}" for n in first[name])
            out.print(f"    {answer:<{width}} {numbers}   {column}", markup=False)
    if found.rounding_residual:
        out.print(f"whole votes differ from the published numbers by {found.rounding_residual:.2f} at most")


def _asked(draft: SurveyDraft) -> SurveyDraft:
    """What a person knows and columns do not tell."""
    if draft.extends:
        base = draft.extends[0]
        if len(draft.extends) > 1:
            base = _choice("which of these surveys is it", draft.extends)
        return replace(draft, extends=(base,), name=typer.prompt("name of the survey", default=draft.name))
    draft = replace(
        draft,
        name=typer.prompt("name of the survey", default=draft.name),
        title=typer.prompt("title", default="", show_default=False),
        citation=typer.prompt("how to cite it", default="", show_default=False),
    )
    if len(draft.ids) > 1:
        draft = replace(draft, ids=(_choice("column that names a galaxy", draft.ids),))
    if not draft.ids and (name := typer.prompt("column that names a galaxy", default="", show_default=False)):
        draft = replace(draft, ids=(name,))
    if not draft.positions and (ra := typer.prompt("column of right ascension (deg)", default="", show_default=False)):
        draft = replace(draft, positions=((ra, typer.prompt("column of declination (deg)")),))
    if draft.questions:
        out.print("after which answers is each question asked? question=answer, several with commas; - is everybody")
    return replace(draft, questions=tuple(_asked_after(question) for question in draft.questions))


def _asked_after(question: QuestionDraft) -> QuestionDraft:
    given = typer.prompt(f"  {question.name}", default=", ".join(question.likely) or "-")
    ways = tuple(part.strip() for part in given.split(",") if part.strip() not in {"", "-"})
    return replace(question, asked_after=ways, likely=())


def _choice(question: str, options: tuple[str, ...]) -> str:
    while (given := str(typer.prompt(f"{question} ({', '.join(options)})", default=options[0]))) not in options:
        out.print(f"there is no {given}", markup=False)
    return given
