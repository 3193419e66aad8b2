"""Whether the galaxies of a run look like those that its model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

TOLERATED = 0.1
"""Distance between two distributions that is no drift yet."""
_KOLMOGOROV = 1.63
"""One pair of equal samples in a hundred lies farther apart than this times the root of 1 / n + 1 / m."""
_LEVELS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class DriftingNumber:
    """How one number's distribution moved.

    Attributes
    ----------
    name
        Column of the catalogue.
    distance
        Kolmogorov-Smirnov: the largest difference between the shares of galaxies below any value; of the support by
        features one-sided, since galaxies that lie nearer to the training's than others do are no drift.
    allowed
        What chance and `TOLERATED` explain.
    median, usual
        Of the run's galaxies, and of the training galaxies.
    """

    name: str
    distance: float
    allowed: float
    median: float
    usual: float

    @property
    def drifts(self) -> bool:
        """Whether it moved farther than that."""
        return self.distance > self.allowed


@dataclass(frozen=True)
class Drift:
    """How a run's galaxies differ from the training's.

    Attributes
    ----------
    n
        Galaxies of the run.
    out
        Share of them out of support.
    expected, allowed
        The share among galaxies like the training's, and the largest that is no drift.
    numbers
        Distance in features first, then each statistic of the pictures.
    """

    n: int
    out: float
    expected: float
    allowed: float
    numbers: tuple[DriftingNumber, ...]

    @property
    def drifts(self) -> bool:
        """Whether the run's galaxies are others than those that the model knows."""
        return self.out > self.allowed or any(number.drifts for number in self.numbers)

    def metrics(self) -> dict[str, float]:
        """The numbers by the names that they have in every run of such pictures."""
        numbers = {"drift/out-of-support": self.out, "drift/galaxies": self.n, "drift/drifts": float(self.drifts)}
        for number in self.numbers:
            numbers |= {f"drift/distance/{number.name}": number.distance, f"drift/median/{number.name}": number.median}
        return numbers

    def sentence(self) -> str:
        """One line for people."""
        share = f"{self.out:.1%} of {self.n:,} galaxies are out of support ({self.expected:.0%} of galaxies like the"
        share += " training's would be)"
        moved = sorted((number for number in self.numbers if number.drifts), key=lambda number: -number.distance)
        if not self.drifts:
            return f"{share}; neither features nor pictures differ from the training's"
        named = ", ".join(f"{number.name} ({number.distance:.2f})" for number in moved[:4])
        return f"{share}; these galaxies differ from the training's" + (f" in {named}" if named else "")


class DriftCount:
    """Counts galaxies part by part; memory does not grow with the survey.

    Parameters
    ----------
    names
        Of the statistics.
    quantiles
        (101, n_statistics) of the training galaxies, from the smallest to the largest.
    n_known, n_held_out
        Galaxies behind these quantiles, and behind the p-values.
    false_alarms
        A support below this is out of support.
    """

    def __init__(
        self, names: Sequence[str], quantiles: ArrayLike, *, n_known: int, n_held_out: int, false_alarms: float
    ) -> None:
        self.names = ("support_features", *names)
        # Held-out galaxies have every p-value equally often.
        self.edges = np.column_stack([_LEVELS, np.asarray(quantiles, np.float64)])
        self.counts = np.zeros((len(_LEVELS) + 1, len(self.names)), np.int64)
        self.sizes = (n_held_out, *[n_known] * len(names))
        self.false_alarms = false_alarms
        self.n = self.n_out = 0

    def add(self, support: ArrayLike, features: ArrayLike, statistics: ArrayLike) -> None:
        """Count (n,) galaxies with their `support`, ``support_features`` and (n, n_statistics) statistics."""
        values = np.column_stack([features, statistics])
        self.n += len(values)
        self.n_out += int(np.sum(np.asarray(support) < self.false_alarms))
        for column in range(values.shape[1]):
            bins = np.searchsorted(self.edges[:, column], values[:, column])
            self.counts[:, column] += np.bincount(bins, minlength=len(self.counts))

    def result(self) -> Drift:
        """What was counted."""
        n = max(self.n, 1)
        below = self.counts[:-1].cumsum(0) / n
        numbers = tuple(
            DriftingNumber(
                name,
                _distance(self.edges[:, i], below[:, i], one_sided=i == 0),
                TOLERATED + _KOLMOGOROV * np.sqrt(1 / n + 1 / self.sizes[i]),
                _median(self.edges[:, i], below[:, i]),
                float(self.edges[len(_LEVELS) // 2, i]),
            )
            for i, name in enumerate(self.names)
        )
        rate = self.false_alarms
        chance = np.sqrt(rate * (1 - rate) * (1 / n + 1 / self.sizes[0]))
        return Drift(self.n, self.n_out / n, rate, float(2 * rate + 3 * chance), numbers)


def _distance(edges: NDArray[np.float64], below: NDArray[np.float64], *, one_sided: bool) -> float:
    """Largest difference between the shares at most as large as each edge; one-sided, towards smaller values."""
    # Of equal edges the last one has the share of all of them.
    last = np.append(edges[1:] > edges[:-1], True)
    excess = (below - _LEVELS)[last]
    return float((excess if one_sided else np.abs(excess)).max())


def _median(edges: NDArray[np.float64], below: NDArray[np.float64]) -> float:
    return float(edges[min(int(np.searchsorted(below, 0.5)), len(edges) - 1)])
