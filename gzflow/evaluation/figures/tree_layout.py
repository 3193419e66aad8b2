"""Where the questions of a decision tree stand on a page: in rows, few crossing lines, parents over their children."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gzflow.tree import DecisionTree

Node = tuple[int, int]
"""(question, row): the question's own card in its own row, in rows above it the lane of lines that lead to it."""

_STARTS, _SWEEPS = 12, 60
_STRAIGHT = 20.0
"""How much more a lane wants to be straight than a card wants to stand under its parents."""


@dataclass(frozen=True)
class Link:
    """A line from one row to the next.

    Attributes
    ----------
    start, stop
        Node above and node below.
    answer
        Column of the answer that it leaves from; None leaves from the whole card (any answer), or from a lane.
    """

    start: Node
    stop: Node
    answer: int | None


@dataclass(frozen=True)
class TreeLayout:
    """Rows of nodes, from left to right, and the lines between them.

    Attributes
    ----------
    rows
        Nodes of each row.
    x
        Centre of each node, in the unit of the widths.
    links
        Lines; each goes down by one row.
    """

    rows: tuple[tuple[Node, ...], ...]
    x: Mapping[Node, float]
    links: tuple[Link, ...]


def lay_out(tree: DecisionTree, widths: Sequence[float], ports: Sequence[float], gap: float) -> TreeLayout:
    """Arrange a decision tree in rows (Sugiyama, Tagawa and Toda 1981, IEEE Trans. SMC 11, 109).

    A question stands one row below the lowest of its parents. Lines that pass rows on the way to the same question
    share one lane. The order within rows comes from barycentres, the positions from least squares under the condition
    that neighbours keep their distance.

    Parameters
    ----------
    tree
        The questions.
    widths
        (n_questions,) width of each card.
    ports
        (n_answers,) where each answer's line leaves its card, from the card's centre.
    gap
        Least distance between neighbours.
    """
    row_of = _row_numbers(tree)
    links = _links(tree, row_of)
    nodes = dict.fromkeys([(q, row) for q, row in enumerate(row_of)])
    nodes |= dict.fromkeys(node for link in links for node in (link.start, link.stop))
    rows = [[node for node in nodes if node[1] == row] for row in range(max(row_of) + 1)]
    width = {node: widths[node[0]] if row_of[node[0]] == node[1] else gap / 2 for node in nodes}
    rows = _ordered(rows, links, ports)
    x: dict[Node, float] = {}
    for row in rows:
        centres = np.cumsum([width[node] + gap for node in row]) - [width[node] / 2 for node in row]
        x |= zip(row, centres - centres.mean(), strict=True)
    pulls = _pulls(links, ports, row_of)
    for sweep in range(_SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            _settle(row, pulls, width, gap, x)
    left = min(x[node] - width[node] / 2 for node in x)
    return TreeLayout(tuple(map(tuple, rows)), {node: value - left for node, value in x.items()}, tuple(links))


def _row_numbers(tree: DecisionTree) -> list[int]:
    rows = [0] * len(tree.questions)
    for q in tree.topological:
        rows[q] = max((rows[parent] + 1 for parent, _ in tree.parents[q]), default=0)
    return rows


def _links(tree: DecisionTree, row_of: Sequence[int]) -> list[Link]:
    links: dict[Link, None] = {}
    for q, parents in enumerate(tree.parents):
        for parent in dict.fromkeys(p for p, _ in parents):
            answers = [column for p, column in parents if p == parent]
            every = len(answers) == len(tree.questions[parent].answers)
            below = (q, row_of[parent] + 1)
            links |= dict.fromkeys(Link((parent, row_of[parent]), below, a) for a in ([None] if every else answers))
            links |= dict.fromkeys(Link((q, row), (q, row + 1), None) for row in range(row_of[parent] + 1, row_of[q]))
    return list(links)


def _ordered(rows: list[list[Node]], links: Sequence[Link], ports: Sequence[float]) -> list[list[Node]]:
    """The order with the fewest crossings among those reached from the given one and from shuffled ones."""
    chance = np.random.default_rng(0)
    best, fewest = rows, _crossings(rows, links, ports)
    for start in range(_STARTS):
        found = [[row[i] for i in chance.permutation(len(row))] if start else list(row) for row in rows]
        for sweep in range(8):
            for row in found if sweep % 2 == 0 else reversed(found):
                _sort_by_barycentre(row, found, links, ports, down=sweep % 2 == 0)
        crossings = _swapped_where_better(found, links, ports)
        if crossings < fewest:
            best, fewest = found, crossings
    return best


def _sort_by_barycentre(
    row: list[Node], rows: Sequence[Sequence[Node]], links: Sequence[Link], ports: Sequence[float], *, down: bool
) -> None:
    place = {node: i for other in rows for i, node in enumerate(other)}
    reach: dict[Node, list[float]] = {node: [] for node in row}
    for link in links:
        mine, other = (link.stop, link.start) if down else (link.start, link.stop)
        if mine in reach:
            shift = 0.3 * np.sign(ports[link.answer]) if down and link.answer is not None else 0.0
            reach[mine].append(place[other] + shift)
    row.sort(key=lambda node: (np.mean(reach[node]) if reach[node] else place[node], place[node]))


def _swapped_where_better(rows: list[list[Node]], links: Sequence[Link], ports: Sequence[float]) -> int:
    """Exchange neighbours as long as that removes crossings; how many are left."""
    fewest, better = _crossings(rows, links, ports), True
    while better:
        better = False
        for row in rows:
            for i in range(len(row) - 1):
                row[i], row[i + 1] = row[i + 1], row[i]
                crossings = _crossings(rows, links, ports)
                if crossings < fewest:
                    fewest, better = crossings, True
                else:
                    row[i], row[i + 1] = row[i + 1], row[i]
    return fewest


def _crossings(rows: Sequence[Sequence[Node]], links: Sequence[Link], ports: Sequence[float]) -> int:
    place = {node: i for row in rows for i, node in enumerate(row)}
    count = 0
    for row in range(len(rows)):
        ends = [
            ((place[link.start], 0.0 if link.answer is None else ports[link.answer]), place[link.stop])
            for link in links
            if link.start[1] == row
        ]
        count += sum(a[0] < b[0] and a[1] > b[1] for a in ends for b in ends)
    return count


def _pulls(
    links: Sequence[Link], ports: Sequence[float], row_of: Sequence[int]
) -> list[tuple[Node, Node, float, float]]:
    """(node, node, shift, strength): the second wants to stand `shift` to the right of the first."""
    pulls = []
    for link in links:
        port = 0.0 if link.answer is None else ports[link.answer]
        pulls.append((link.start, link.stop, port, 1.0))
    lanes = dict.fromkeys(node for link in links for node in (link.start, link.stop) if row_of[node[0]] != node[1])
    # Every two parts of a lane, not only neighbours: else a long lane straightens slowly and ends in waves.
    pulls += [(a, b, 0.0, _STRAIGHT) for a in lanes for b in lanes if a[0] == b[0] and a[1] < b[1]]
    return pulls


def _settle(
    row: Sequence[Node],
    pulls: Sequence[tuple[Node, Node, float, float]],
    width: Mapping[Node, float],
    gap: float,
    x: dict[Node, float],
) -> None:
    """Move a row's nodes to where their lines are straightest, in order and apart."""
    weight = dict.fromkeys(row, 1e-3)  # a node without lines stays
    wanted = {node: x[node] * 1e-3 for node in row}
    for one, other, shift, strength in pulls:
        if other in wanted:
            wanted[other] += strength * (x[one] + shift)
            weight[other] += strength
        if one in wanted:
            wanted[one] += strength * (x[other] - shift)
            weight[one] += strength
    half = np.array([width[node] / 2 for node in row])
    apart = np.concatenate([[0.0], np.cumsum(half[:-1] + half[1:] + gap)])
    targets = np.array([wanted[node] / weight[node] for node in row]) - apart
    x |= zip(row, _nondecreasing(targets, np.array([weight[node] for node in row])) + apart, strict=True)


def _nondecreasing(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nondecreasing sequence nearest to `values` in weighted least squares: pool adjacent violators."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (v1, w1, n1), (v2, w2, n2) = blocks[-2:]
            blocks[-2:] = [((v1 * w1 + v2 * w2) / (w1 + w2), w1 + w2, n1 + n2)]
    return np.repeat([block[0] for block in blocks], [block[2] for block in blocks])
