"""One HTML page that shows what was done: opens offline, on a phone, by keyboard, without scripts."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from gzflow.durable import write_bytes
from gzflow.errors import EvaluationError
from gzflow.evaluation.galaxy_table import SURE, GalaxyTable
from gzflow.evaluation.ranking import RELEVANT

Tone = Literal["plain", "strong", "muted", "good", "bad"]


@dataclass(frozen=True)
class Tile:
    """A headline number, and in `detail` its baseline and sample."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class Picture:
    """PNG, JPEG or WebP bytes with words for those who do not see them.

    Attributes
    ----------
    shows_galaxies
        Left out of pages of surveys whose images may not be shown.
    wide
        Takes the whole width; narrow pictures stand side by side.
    """

    content: bytes
    alt: str
    caption: str = ""
    shows_galaxies: bool = False
    wide: bool = True

    @property
    def uri(self) -> str:
        """The picture as a ``data:`` URI."""
        return f"data:{_media_type(self.content)};base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True)
class Cell:
    """A table cell that is not plain."""

    text: str
    tone: Tone = "plain"
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text; `numeric` columns are set flush right.

    Attributes
    ----------
    note
        The sample: selection, vote floor, what the baselines are.
    fold
        Shown closed, to be opened by the reader.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    caption: str
    numeric: frozenset[int] = frozenset()
    note: str = ""
    fold: bool = False


@dataclass(frozen=True)
class GalaxyCard:
    """One galaxy: its picture and what model and volunteers say."""

    table: GalaxyTable
    picture: Picture | None = None
    link: str | None = None


@dataclass(frozen=True)
class Section:
    """A heading, some sentences, and what they are about, in reading order."""

    title: str
    text: tuple[str, ...] = ()
    items: tuple[Table | Picture | GalaxyCard, ...] = ()

    @property
    def groups(self) -> list[tuple[str, list[Table | Picture | GalaxyCard]]]:
        """Runs of items of one kind: pictures in a row share a grid."""
        return [(kind, list(items)) for kind, items in groupby(self.items, lambda item: type(item).__name__)]


@dataclass(frozen=True)
class NextStep:
    """A command to type, and what it does."""

    command: str
    why: str


@dataclass(frozen=True)
class Report:
    """All that the page says.

    Attributes
    ----------
    provenance
        Survey, tree fingerprint, model URI and version, run id, seeds, versions: what it takes to do it again.
    image_rights
        "restricted" leaves out every picture that shows galaxies, and says so.
    """

    title: str
    subtitle: str
    tiles: tuple[Tile, ...] = ()
    sections: tuple[Section, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    acknowledgements: tuple[str, ...] = ()
    next_steps: tuple[NextStep, ...] = ()
    image_rights: Literal["open", "restricted"] = "open"


def render_report(report: Report) -> str:
    """The page as HTML: pictures inside, nothing loaded from anywhere."""
    environment = Environment(
        loader=PackageLoader("gzflow.evaluation", "templates"),
        autoescape=select_autoescape(["html", "j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.0f} %"
    template = environment.get_template("report.html.j2")
    return template.render(
        report=report,
        show_galaxies=report.image_rights == "open",
        relevant=RELEVANT,
        sure=SURE,
    )


def write_report(report: Report, path: Path) -> None:
    """Write the page whole or not at all."""
    write_bytes(path, render_report(report).encode())


def _media_type(content: bytes) -> str:
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    raise EvaluationError(
        "a picture of the report is not an image",
        where=f"its first bytes are {content[:8]!r}",
        expected="PNG, JPEG or WebP",
        fix="pass figure_png(figure) or figure_jpeg(figure)",
    )
