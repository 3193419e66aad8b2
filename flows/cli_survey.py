"""Commands about survey descriptions: draw a tree, check a TOML against a table, begin a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.console import out
from gzflow.errors import SettingsError
from gzflow.surveys import Survey, load_survey

app = typer.Typer(
    help="Describe a survey: draw its decision tree, check its TOML, begin a new one.", no_args_is_help=True
)

NameArgument = Annotated[str, typer.Argument(help="A shipped survey's name (`gzflow surveys`) or the path of a TOML.")]


@app.command()
def tree(
    survey: NameArgument,
    to: Annotated[
        Path | None, typer.Option("--out", help="Picture, .svg or .png. Empty: <survey>-tree.svg in this folder.")
    ] = None,
) -> None:
    """Draw a survey's decision tree: its questions, their answers, and what leads where."""
    described = load_survey(survey)
    out.print(f"tree  [bold]{draw(described, to or Path(f'{described.name}-tree.svg'))}[/]")


def draw(survey: Survey, file: Path) -> Path:
    """Write the picture of a survey's tree; the suffix says which kind."""
    if file.suffix.lower() not in {".svg", ".png"}:
        raise SettingsError(
            "this kind of picture cannot be drawn", where=str(file), expected="a name that ends in .svg or .png"
        )
    from gzflow.durable import write_bytes
    from gzflow.evaluation.figures.decision_tree import decision_tree
    from gzflow.evaluation.figures.style import figure_png, figure_svg

    figure = decision_tree(survey.tree, title=survey.about.title or survey.name, subtitle=survey.about.citation)
    write_bytes(file, figure_svg(figure) if file.suffix.lower() == ".svg" else figure_png(figure))
    return file
