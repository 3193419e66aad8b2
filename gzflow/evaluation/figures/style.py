"""One look for all figures: colours, type, sizes, and bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gzflow.errors import EvaluationError

INK = "#1d2433"
MUTED = "#667085"
GRID = "#e6e8ee"
PAPER = "#ffffff"
NIGHT = "#0c1018"
STARLIGHT = "#dfe5f0"
BLUE = "#2563a8"
ORANGE = "#d9730d"
GREEN = "#1a8a6a"
PURPLE = "#7a4fb5"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, "#b83265", "#5b6b2f", "#0f8ea3", "#8a5a2b")
DPI = 144
SMALL, NORMAL, LARGE = 8.0, 9.5, 12.0


def new_figure(width: float, height: float, *, face: str = PAPER) -> Figure:
    """An empty figure in inches, drawn by Agg and unknown to pyplot: safe in any thread."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=face)
    FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: Axes, *, grid: str | None = "y") -> Axes:
    """Light frame, muted ticks, and a grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c3c8d2")
    axes.tick_params(colors=MUTED, labelsize=SMALL, length=3, width=0.8)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)
    return axes


def heading(figure: Figure, title: str, subtitle: str = "", *, colour: str = INK, muted: str = MUTED) -> float:
    """Write a title and a muted line at the top left; the fraction of the height that they leave free."""
    height = figure.get_figheight()
    left = 0.14 / figure.get_figwidth()
    figure.text(left, 1 - 0.12 / height, title, color=colour, fontsize=LARGE, fontweight="bold", va="top")
    if subtitle:
        figure.text(left, 1 - 0.38 / height, subtitle, color=muted, fontsize=SMALL, va="top", linespacing=1.35)
    lines = subtitle.count("\n") + 1 if subtitle else 0
    return 1 - (0.44 + 0.2 * lines) / height


def label_ends(axes: Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    """Name each line at its right end; labels that would overlap move apart."""
    bottom, top = axes.get_ylim()
    gap = 0.115 * (top - bottom)
    placed: list[float] = []
    for value, text, colour in sorted(labels, key=lambda label: label[0]):
        y = max(value, bottom + gap / 2, placed[-1] + gap if placed else -np.inf)
        placed.append(y)
        axes.annotate(
            text, (1, (y - bottom) / (top - bottom)), xycoords="axes fraction", xytext=(8, 0),
            textcoords="offset points", va="center", fontsize=SMALL, color=colour, linespacing=1.15,
        )  # fmt: skip


def degrees_label(value: float) -> str:
    """A signed declination for a tick."""
    return f"{value:+g}°".replace("-", "−") if value else "0°"


def as_rgb(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, H, W, 3) of (n, H, W, C): one channel becomes grey."""
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images[..., :3]


def shortened(text: str, limit: int) -> str:
    """The text with its middle left out when it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    head = (limit - 1) // 2
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def figure_png(figure: Figure) -> bytes:
    """PNG bytes: right for lines and text."""
    return _saved(figure, "png")


def figure_jpeg(figure: Figure, quality: int = 88) -> bytes:
    """JPEG bytes: right for sheets of photographs, which PNG stores many times larger."""
    return _saved(figure, "jpeg", pil_kwargs={"quality": quality, "optimize": True, "subsampling": 0})


def figure_svg(figure: Figure) -> bytes:
    """SVG bytes, the same for the same figure: sharp at any size, letters as outlines."""
    with rc_context({"svg.hashsalt": "gzflow"}):
        return _saved(figure, "svg", metadata={"Date": None})


def figure_pdf(figure: Figure) -> bytes:
    """PDF bytes, the same for the same figure: for a paper."""
    return _saved(figure, "pdf", metadata={"CreationDate": None})


FORMATS: Mapping[str, Callable[[Figure], bytes]] = {
    ".png": figure_png,
    ".jpg": figure_jpeg,
    ".jpeg": figure_jpeg,
    ".svg": figure_svg,
    ".pdf": figure_pdf,
}
"""By what a file's name ends in."""


def figure_writer(file: Path) -> Callable[[Figure], bytes]:
    """Makes the bytes of a figure in the format that the file's name asks for.

    Raises
    ------
    EvaluationError
        Pictures have no such format.
    """
    suffix = file.suffix.lower()
    if suffix not in FORMATS:
        raise EvaluationError(
            f"a picture cannot be written as {file.name}", expected=f"a name that ends in {', '.join(FORMATS)}"
        )
    return FORMATS[suffix]


def _saved(figure: Figure, kind: str, **options: Any) -> bytes:
    stream = BytesIO()
    figure.savefig(stream, format=kind, facecolor=figure.get_facecolor(), **options)
    return stream.getvalue()
