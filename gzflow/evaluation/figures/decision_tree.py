"""The decision tree of a survey: its questions, their answers, and which answer leads to which question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path
from matplotlib.textpath import text_to_path

from gzflow.evaluation.figures.style import CYCLE, INK, LARGE, MUTED, NORMAL, PAPER, SMALL, heading, new_figure
from gzflow.evaluation.figures.tree_layout import Link, Node, TreeLayout, lay_out
from gzflow.tree import DecisionTree, Question

# Inches.
_MARGIN, _GAP, _ROW_GAP = 0.22, 0.34, 0.62
_HEADER, _CHIP, _CHIP_GAP, _PAD = 0.3, 0.23, 0.07, 0.1
_WIDEST = 3.4
"""A card's answers wrap into a second line beyond this."""


def decision_tree(tree: DecisionTree, *, title: str, subtitle: str = "") -> Figure:
    """A card a question, its answers in order, and a line from each answer to the question that it leads to.

    A line from a card's lower edge stands for all of its answers. Answers in grey end the questions. Lines have the
    colour of the question that they lead to, and those that pass other questions on the way to it run together.

    Parameters
    ----------
    tree
        The questions.
    title, subtitle
        Over the picture; the subtitle is completed by the numbers of questions and answers.
    """
    cards = [_Card.of(question) for question in tree.questions]
    layout = lay_out(tree, [card.width for card in cards], [port for card in cards for port in card.ports], _GAP)
    heights = [max(cards[q].height for q, r in row if _is_card(layout, (q, r))) for row in layout.rows]
    right = max(layout.x[node] + cards[node[0]].width / 2 for node in layout.x if _is_card(layout, node))
    n_questions = f"{len(tree.questions)} questions" if len(tree.questions) > 1 else "1 question"
    counts = f"{n_questions}, {len(tree.answers)} answers. Grey answers end the questions."
    subtitle = f"{subtitle}\n{counts}" if subtitle else counts
    written = [_text_width(title, LARGE, bold=True), *(_text_width(line, SMALL) for line in subtitle.split("\n"))]
    width = max(right, *written) + 2 * _MARGIN
    top = 0.5 + 0.2 * (subtitle.count("\n") + 1) + 0.12
    figure = new_figure(width, sum(heights) + _ROW_GAP * (len(heights) - 1) + top + _MARGIN)
    heading(figure, title, subtitle)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, figure.get_figwidth()), ylim=(figure.get_figheight(), 0))
    axes.axis("off")
    indent = _MARGIN + (width - 2 * _MARGIN - right) / 2
    tops = [top + sum(heights[:row]) + _ROW_GAP * row for row in range(len(heights))]
    page = _Page(tree, cards, layout, indent, tops, heights, _colours(tree, layout))
    for link in layout.links:
        page.draw_link(axes, link)
    for row in layout.rows:
        for node in row:
            if _is_card(layout, node):
                page.draw_card(axes, node)
            else:
                page.draw_lane(axes, node)
    return figure


def _is_card(layout: TreeLayout, node: Node) -> bool:
    return all(other[0] != node[0] or other[1] <= node[1] for other in layout.x)


def _colours(tree: DecisionTree, layout: TreeLayout) -> list[int]:
    """A colour a question, other than those of the questions and lanes in its row and beside it."""
    near: list[set[int]] = [set() for _ in tree.questions]
    bands = [{q for row in layout.rows[max(r - 1, 0) : r + 2] for q, _ in row} for r in range(len(layout.rows))]
    for row, band in zip(layout.rows, bands, strict=True):
        for q, _ in row:
            near[q] |= band - {q}
    colours = [-1] * len(tree.questions)
    for q in tree.topological:
        used = [colours[other] for other in near[q] if colours[other] >= 0]
        order = [(max(colours) + 1 + i) % len(CYCLE) for i in range(len(CYCLE))]
        colours[q] = min(order, key=used.count)
    return colours


@dataclass(frozen=True)
class _Card:
    """A question's card: its size in inches, its answers in lines, and where their lines leave, from its centre."""

    width: float
    height: float
    chips: tuple[tuple[float, float, float, str], ...]
    """Of each answer: left from the card's left edge, top from its upper edge, width, text."""

    @classmethod
    def of(cls, question: Question) -> _Card:
        texts = [answer.replace("-", " ") for answer in question.answers]
        widths = [_text_width(text, SMALL) + 0.16 for text in texts]
        lines = _wrapped(widths)
        inside = max(sum(widths[i] for i in line) + _CHIP_GAP * (len(line) - 1) for line in lines)
        inside = max(inside, _text_width(_title(question), NORMAL, bold=True))
        chips = []
        for number, line in enumerate(lines):
            left = _PAD + (inside - sum(widths[i] for i in line) - _CHIP_GAP * (len(line) - 1)) / 2
            for i in line:
                chips.append((left, _HEADER + number * (_CHIP + _CHIP_GAP), widths[i], texts[i]))
                left += widths[i] + _CHIP_GAP
        height = _HEADER + len(lines) * (_CHIP + _CHIP_GAP) - _CHIP_GAP + _PAD
        return cls(inside + 2 * _PAD, height, tuple(chips))

    @property
    def ports(self) -> tuple[float, ...]:
        return tuple(left + width / 2 - self.width / 2 for left, _, width, _ in self.chips)


@dataclass(frozen=True)
class _Page:
    """Everything in its place, in inches from the upper left corner."""

    tree: DecisionTree
    cards: Sequence[_Card]
    layout: TreeLayout
    indent: float
    tops: Sequence[float]
    heights: Sequence[float]
    colours: Sequence[int]

    def x(self, node: Node) -> float:
        return self.layout.x[node] + self.indent

    def colour(self, question: int) -> str:
        return CYCLE[self.colours[question]]

    def draw_link(self, axes: Axes, link: Link) -> None:
        start, stop = link.start, link.stop
        x0, y0 = self.x(start), self.tops[start[1]] + self.heights[start[1]]
        if _is_card(self.layout, start):
            card = self.cards[start[0]]
            y0 = self.tops[start[1]] + card.height
            if link.answer is not None:
                i = link.answer - self.tree.slices[start[0]].start
                x0 += card.ports[i]
                y0 = self.tops[start[1]] + card.chips[i][1] + _CHIP
        x1, y1 = self.x(stop), self.tops[stop[1]]
        bottom = self.tops[start[1]] + self.heights[start[1]]  # straight down to where the row ends
        bend = 0.55 * (y1 - bottom)
        vertices = [(x0, y0), (x0, bottom), (x0, bottom + bend), (x1, y1 - bend), (x1, y1)]
        codes = [Path.MOVETO, Path.LINETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
        self._stroke(axes, Path(vertices, codes), stop[0])
        if _is_card(self.layout, stop):
            arrow = Path([(x1 - 0.05, y1 - 0.08), (x1, y1 - 0.005), (x1 + 0.05, y1 - 0.08)])
            self._stroke(axes, arrow, stop[0])

    def draw_lane(self, axes: Axes, node: Node) -> None:
        x, top = self.x(node), self.tops[node[1]]
        self._stroke(axes, Path([(x, top), (x, top + self.heights[node[1]])]), node[0])

    def _stroke(self, axes: Axes, path: Path, question: int) -> None:
        colour = self.colour(question)
        axes.add_patch(
            PathPatch(path, fill=False, edgecolor=colour, linewidth=1.3, capstyle="round", joinstyle="round", zorder=1)
        )

    def draw_card(self, axes: Axes, node: Node) -> None:
        q, row = node
        card, colour = self.cards[q], self.colour(q)
        left, top = self.x(node) - card.width / 2, self.tops[row]
        _box(axes, left, top, card.width, card.height, 0.07, face=PAPER, edge=colour, linewidth=1.3, zorder=2)
        axes.text(
            left + card.width / 2, top + _HEADER / 2 + 0.015, _title(self.tree.questions[q]),
            ha="center", va="center", fontsize=NORMAL, fontweight="bold", color=INK, zorder=4,
        )  # fmt: skip
        leads = {link.answer for link in self.layout.links if link.start == node}
        first = self.tree.slices[q].start
        for i, (x, y, width, text) in enumerate(card.chips):
            goes_on = bool(leads & {None, first + i})
            face = _tint(colour, 0.16) if goes_on else "#f1f2f5"
            _box(axes, left + x, top + y, width, _CHIP, 0.06, face=face, edge="none", linewidth=0, zorder=3)
            axes.text(
                left + x + width / 2, top + y + _CHIP / 2 + 0.005, text,
                ha="center", va="center", fontsize=SMALL, color=INK if goes_on else MUTED, zorder=4,
            )  # fmt: skip


def _box(
    axes: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    radius: float,
    *,
    face: str | tuple[float, float, float],
    edge: str,
    linewidth: float,
    zorder: int,
) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x, y), width, height, boxstyle=f"round,pad=0,rounding_size={radius}",
            facecolor=face, edgecolor=edge, linewidth=linewidth, zorder=zorder,
        )
    )  # fmt: skip


def _title(question: Question) -> str:
    words = question.name.replace("-", " ")
    return words[:1].upper() + words[1:] + "?"


def _wrapped(widths: Sequence[float]) -> list[list[int]]:
    """Answers in as few lines as keep the card narrow, of about equal number."""
    total = sum(widths) + _CHIP_GAP * (len(widths) - 1)
    n_lines = min(len(widths), int(total / _WIDEST) + 1)
    bounds = [round(k * len(widths) / n_lines) for k in range(n_lines + 1)]
    return [list(range(start, stop)) for start, stop in pairwise(bounds)]


def _text_width(text: str, size: float, *, bold: bool = False) -> float:
    font = FontProperties(size=size, weight="bold" if bold else "normal")
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def _tint(colour: str, strength: float) -> tuple[float, float, float]:
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return red, green, blue
