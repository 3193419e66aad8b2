"""Two models on the same galaxies: what one gains over the other, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gzflow.errors import EvaluationError
from gzflow.evaluation.bootstrap import Interval, bootstrap_means
from gzflow.evaluation.numbers import mean

TOTAL = "all questions"
RESAMPLES = 2000
Verdict = Literal["second", "first", "neither"]


@dataclass(frozen=True)
class PairedGain:
    """NLL of two models on the same galaxies, for one question or in total.

    Attributes
    ----------
    question
        Its name, or `TOTAL`.
    n
        Galaxies that count.
    first, second
        Mean NLL of each in nats a galaxy; NaN without a galaxy.
    gain
        ``first - second`` with its 95 % paired bootstrap interval: above 0, the second model is better.
    """

    question: str
    n: int
    first: float
    second: float
    gain: Interval

    @property
    def better(self) -> Verdict:
        """Which model is better: the one that the whole interval speaks for, or neither."""
        return "second" if self.gain.lower > 0 else "first" if self.gain.upper < 0 else "neither"


def paired_gains(
    first: NDArray[Any],
    second: NDArray[Any],
    counted: NDArray[np.bool_],
    questions: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 42,
) -> tuple[PairedGain, ...]:
    """The total over all galaxies, then one entry a question.

    Parameters
    ----------
    first, second
        (n_galaxies, n_questions) NLL in nats, 0 where a question got no votes.
    counted
        (n_galaxies, n_questions) which galaxies count for a question. The total is the sum over questions of every
        galaxy.
    resamples, seed
        Of the bootstrap, which draws galaxies whole.

    Raises
    ------
    EvaluationError
        Arrays that do not fit together, or NLLs that are not finite.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    counted = np.asarray(counted, dtype=bool)
    shape = (len(first), len(questions))
    problems = [
        f"{name} has shape {array.shape}, not (n_galaxies, n_questions) = {shape}"
        for name, array in (("first", first), ("second", second), ("counted", counted))
        if array.shape != shape
    ]
    problems += [
        f"{int((~np.isfinite(array)).any(axis=-1).sum())} galaxies of {name} have an NLL that is not finite"
        for name, array in (("first", first), ("second", second))
        if not np.isfinite(array).all()
    ]
    if problems:
        raise EvaluationError(
            "the scores of two models cannot be compared",
            problems=problems,
            expected="finite NLLs of the same galaxies and questions, in the same order",
            fix="score both models on the same galaxies",
        )
    everyone = np.ones((shape[0], 1), dtype=bool)
    chosen = np.hstack([everyone, counted])
    columns = [np.hstack([nll.sum(axis=1, keepdims=True), nll]) for nll in (first, second)]
    gains = bootstrap_means(columns[0] - columns[1], chosen, resamples=resamples, seed=seed)
    return tuple(
        PairedGain(
            question=name,
            n=int(chosen[:, i].sum()),
            first=mean(columns[0][chosen[:, i], i]),
            second=mean(columns[1][chosen[:, i], i]),
            gain=gains[i],
        )
        for i, name in enumerate((TOTAL, *questions))
    )
