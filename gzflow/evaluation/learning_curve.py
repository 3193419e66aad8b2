"""What a model scores by the number of labels it learnt from, and how many labels a parent saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from gzflow.errors import EvaluationError

Kind = Literal["finetuned", "scratch"]
LEVEL = 0.95
TOGETHER = 32
"""Draws multiplied in one go."""


@dataclass(frozen=True)
class CurvePoint:
    """One trained model.

    Attributes
    ----------
    kind
        Fine-tuned from a parent, or trained from scratch.
    labels
        Galaxies it was trained on.
    seed
        Of its weights and of the choice of its labels.
    nll
        Negative log-likelihood of the test votes in nats, summed over questions: (n_galaxies,), the same galaxies for
        every model, or their mean.
    """

    kind: Kind
    labels: int
    seed: int
    nll: NDArray[np.float64] | float


@dataclass(frozen=True)
class Level:
    """The models of one kind with one number of labels.

    Attributes
    ----------
    mean
        Mean NLL over the seeds, in nats a galaxy.
    lower, upper
        95 % interval of that mean over seeds, by Student's t; NaN for a single seed.
    values
        (n_seeds,) NLL of each model.
    """

    labels: int
    mean: float
    lower: float
    upper: float
    values: NDArray[np.float64]


@dataclass(frozen=True)
class LabelsSaved:
    """How many labels the fine-tune needs for what `scratch_labels` bring from scratch.

    Attributes
    ----------
    nll
        What is reached from scratch with `scratch_labels` or fewer, in nats a galaxy.
    needed, lower, upper
        Labels of the fine-tune for that NLL, and their 95 % interval. The fewest that were tried stand for "these or
        fewer", infinity for "more than were tried"; the interval is NaN where nothing tells it.
    tried
        The fewest and the most labels of the fine-tune.
    """

    scratch_labels: int
    nll: float
    needed: float
    lower: float
    upper: float
    tried: tuple[int, int]

    @property
    def share(self) -> tuple[float, float, float]:
        """Share of the labels that is saved, with the interval's lower and upper end; negative if more are needed."""
        total = self.scratch_labels
        return 1 - self.needed / total, 1 - self.upper / total, 1 - self.lower / total

    def __str__(self) -> str:
        """Such as ``88 % fewer labels (48 to 95 %)``."""
        saved, low, high = map(self._percent, (self.needed, self.upper, self.lower))
        interval = "" if np.isnan(self.lower) or saved == low == high else f" ({low} to {high} %)"
        return f"{saved} % fewer labels{interval}"

    def _percent(self, needed: float) -> str:
        least, most = self.tried
        limit = "≥ " if needed <= least else "< " if needed > most else ""
        return f"{limit}{100 * (1 - min(needed, most) / self.scratch_labels):.0f}".replace("-", "−")


@dataclass(frozen=True)
class LearningCurve:
    """Test NLL against labels.

    Attributes
    ----------
    finetuned, scratch
        By ascending labels.
    saved
        One entry a number of labels from scratch; empty unless both kinds were trained.
    constant
        NLL of the constant Dirichlet, which looks at no image.
    n_galaxies
        Test galaxies behind every NLL, where they are known.
    """

    finetuned: tuple[Level, ...]
    scratch: tuple[Level, ...]
    saved: tuple[LabelsSaved, ...]
    constant: float | None
    n_galaxies: int | None

    @property
    def labels_saved(self) -> LabelsSaved | None:
        """What the fine-tune saves of all the labels that were learnt from without a parent."""
        return self.saved[-1] if self.saved else None


def learning_curve(
    points: Sequence[CurvePoint], *, constant: float | None = None, resamples: int = 2000, seed: int = 42
) -> LearningCurve:
    """Means over seeds at each number of labels, and the labels that the fine-tune saves.

    Between two numbers of labels the NLL is taken as linear in their logarithm. More labels never count as worse: a
    kind is judged by the best that it reaches with so many or fewer.

    Parameters
    ----------
    constant
        See `LearningCurve`.
    resamples, seed
        Of the draws behind `LabelsSaved`: test galaxies are drawn with replacement, the same for all models, where
        NLLs are given galaxy by galaxy; and means over seeds move as Student's t has it, together for all numbers of
        labels where all have the same seeds. Resampling three seeds would miss the truth in one case of five. A single
        seed tells nothing of how much another would differ: then there is no interval.

    Raises
    ------
    EvaluationError
        No point; a model twice; NLLs that are not finite; models scored on other numbers of galaxies (all at once).
    """
    per_galaxy = _per_galaxy(points)
    cells = sorted({(point.kind, point.labels) for point in points})
    members = {cell: [i for i, p in enumerate(points) if (p.kind, p.labels) == cell] for cell in cells}
    for rows in members.values():
        rows.sort(key=lambda i: points[i].seed)
    levels = {cell: _level(cell[1], per_galaxy[rows].mean(1)) for cell, rows in members.items()}
    of_kind = {kind: [cell for cell in cells if cell[0] == kind] for kind in ("finetuned", "scratch")}
    saved: tuple[LabelsSaved, ...] = ()
    if all(of_kind.values()):
        seeds = [[points[i].seed for i in rows] for rows in members.values()]
        draws = _draws(per_galaxy, members, resamples, seed, paired=all(s == seeds[0] for s in seeds))
        means = np.array([[levels[cell].mean for cell in cells]])
        saved = _saved(cells, means, draws)
    return LearningCurve(
        finetuned=tuple(levels[cell] for cell in of_kind["finetuned"]),
        scratch=tuple(levels[cell] for cell in of_kind["scratch"]),
        saved=saved,
        constant=constant,
        n_galaxies=per_galaxy.shape[1] if per_galaxy.shape[1] > 1 else None,
    )


def _per_galaxy(points: Sequence[CurvePoint]) -> NDArray[np.float64]:
    """(n_points, n_galaxies) NLLs; one column where means alone are known."""
    values = [np.atleast_1d(np.asarray(point.nll, np.float64)) for point in points]
    names = [f"{p.kind}, {p.labels} labels, seed {p.seed}" for p in points]
    problems = [f"{name}: given twice" for i, name in enumerate(names) if name in names[:i]]
    problems += [
        f"{name}: NLLs that are not finite" for name, v in zip(names, values, strict=True) if not np.isfinite(v).all()
    ]
    sizes = {v.shape for v in values}
    if len(sizes) > 1:
        problems.append(f"NLLs of {', '.join(str(size[0]) for size in sorted(sizes))} galaxies")
    if problems or not points:
        raise EvaluationError(
            "these models make no learning curve",
            problems=problems or ["there is none"],
            expected="models of different kind, labels or seed, scored on the same test galaxies",
            fix="score all models on one set of test galaxies, each once",
        )
    return np.stack(values)


def _level(labels: int, values: NDArray[np.float64]) -> Level:
    n, mean = len(values), float(values.mean())
    half = float(student.ppf((1 + LEVEL) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return Level(labels, mean, mean - half, mean + half, values)


def _draws(
    per_galaxy: NDArray[np.float64],
    members: dict[tuple[Kind, int], list[int]],
    resamples: int,
    seed: int,
    *,
    paired: bool,
) -> NDArray[np.float64]:
    """(resamples, n_cells) means as they might have come out; NaN for a single seed."""
    generator = np.random.default_rng(seed)
    n = per_galaxy.shape[1]
    runs = np.empty((resamples, len(per_galaxy)))
    for start in range(0, resamples, TOGETHER):
        count = min(TOGETHER, resamples - start)
        times = [np.bincount(generator.integers(n, size=n), minlength=n) for _ in range(count)]
        runs[start : start + count] = np.array(times) @ per_galaxy.T / n
    result = np.empty((resamples, len(members)))
    moves: NDArray[np.float64] | None = None
    for column, rows in enumerate(members.values()):
        if moves is None or not paired:
            moves = _moves(generator, resamples, len(rows))
        values = per_galaxy[rows].mean(1)
        result[:, column] = runs[:, rows].mean(1) + moves @ (values - values.mean())
    return result


def _moves(generator: np.random.Generator, resamples: int, n: int) -> NDArray[np.float64]:
    """(resamples, n) weights: applied to n deviations from their mean they give a t-distributed error of that mean."""
    if n == 1:
        return np.full((resamples, 1), np.nan)
    normal = generator.standard_normal((resamples, n)) / np.sqrt(n * (n - 1))
    return normal * np.sqrt((n - 1) / generator.chisquare(n - 1, (resamples, 1)))


def _saved(
    cells: list[tuple[Kind, int]], means: NDArray[np.float64], draws: NDArray[np.float64]
) -> tuple[LabelsSaved, ...]:
    tuned = [i for i, (kind, _) in enumerate(cells) if kind == "finetuned"]
    scratch = [i for i, (kind, _) in enumerate(cells) if kind == "scratch"]
    labels = np.array([cells[i][1] for i in tuned], np.float64)
    tried = (int(labels[0]), int(labels[-1]))
    result = []
    known = not np.isnan(draws).any()
    for last, column in enumerate(scratch, start=1):
        target = means[:, scratch[:last]].min(1)
        needed = _needed(labels, means[:, tuned], target)
        drawn = _needed(labels, draws[:, tuned], draws[:, scratch[:last]].min(1))
        tail = (1 - LEVEL) / 2
        # Of sorted draws, not interpolated: some are infinite.
        lower, upper = np.quantile(drawn, [tail, 1 - tail], method="nearest") if known else (np.nan, np.nan)
        result.append(
            LabelsSaved(
                scratch_labels=cells[column][1],
                nll=float(target[0]),
                needed=float(needed[0]),
                lower=float(lower),
                upper=float(upper),
                tried=tried,
            )
        )
    return tuple(result)


def _needed(labels: NDArray[np.float64], nll: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) labels at which (n, n_labels) curves first reach (n,) targets; the fewest, or infinity, beyond the ends."""
    reached = np.minimum.accumulate(nll, axis=1)
    good = reached <= target[:, None]
    at = good.argmax(1)
    before = np.maximum(at - 1, 0)
    row = np.arange(len(nll))
    high, low = reached[row, before], reached[row, at]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(at > 0, (high - target) / (high - low), 0.0)
    between = np.exp(np.log(labels[before]) + part * (np.log(labels[at]) - np.log(labels[before])))
    return np.where(good.any(1), np.where(at > 0, between, labels[0]), np.inf)
