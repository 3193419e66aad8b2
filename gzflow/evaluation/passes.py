"""What dropout and further networks bring over a single pass of one network, on the same galaxies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gzflow.evaluation.bootstrap import Interval, bootstrap_means
from gzflow.evaluation.calibration import covered
from gzflow.evaluation.likelihood import mixture_nll
from gzflow.evaluation.numbers import mean
from gzflow.evaluation.selection import question_totals, selected, usual_floor
from gzflow.tree import DecisionTree


@dataclass(frozen=True)
class PassScore:
    """One way to predict from an ensemble's networks.

    Attributes
    ----------
    name
        ``one pass`` (of one network, nothing dropped), ``dropout`` (one network's samples), ``passes`` (one pass of
        each network, mixed) or ``ensemble`` (every network's samples, mixed).
    network
        From 0; None where all take part.
    nll
        Test NLL in nats a galaxy.
    coverage
        Share of vote counts inside their 90 % predictive intervals, over the questions with votes enough.
    """

    name: str
    network: int | None
    nll: float
    coverage: float


@dataclass(frozen=True)
class PassComparison:
    """All ways beside one another.

    Attributes
    ----------
    scores
        Of single networks first.
    gain
        Mean NLL of the networks with dropout minus the ensemble's, in nats a galaxy, with a 95 % bootstrap interval
        over galaxies.
    n, floor
        Galaxies with votes, and the fewest votes with which one counts for a question's coverage.
    """

    scores: tuple[PassScore, ...]
    gain: Interval
    n: int
    floor: int

    def metrics(self) -> dict[str, float]:
        """Flat numbers; those of single networks are means over the networks."""
        named: dict[str, list[PassScore]] = {}
        for score in self.scores:
            named.setdefault(score.name.replace(" ", "-"), []).append(score)
        values = {"ensemble/members": float(len(named["dropout"]))}
        for name, scores in named.items():
            values[f"ensemble/nll-{name}"] = float(np.mean([score.nll for score in scores]))
            values[f"ensemble/coverage90-{name}"] = float(np.mean([score.coverage for score in scores]))
        return values | {
            "ensemble/gain": self.gain.mean,
            "ensemble/gain-lower": self.gain.lower,
            "ensemble/gain-upper": self.gain.upper,
        }


def compare_passes(
    passes: Sequence[NDArray[Any]],
    dropout: Sequence[NDArray[Any]],
    ensemble: NDArray[Any],
    votes: NDArray[Any],
    tree: DecisionTree,
) -> PassComparison:
    """The scores of all ways on the same galaxies, some of which have votes.

    Parameters
    ----------
    passes, dropout
        For each network (n, n_samples, n_answers) concentrations: of one pass in which nothing drops out (several
        samples where that is a mixture by itself), and of its dropout.
    ensemble
        (n, n_samples, n_answers) of all together.
    votes
        (n, n_answers) counts.
    """
    voted = votes.any(axis=1)
    floor = usual_floor(question_totals(votes, tree), 10)
    counted = selected(votes, tree, "asked", floor)[:, tree.question_of_answer]
    ways: list[tuple[str, int | None, NDArray[Any]]] = [
        *(("one pass", i, samples) for i, samples in enumerate(passes)),
        *(("dropout", i, samples) for i, samples in enumerate(dropout)),
        ("passes", None, np.concatenate(passes, axis=1)),
        ("ensemble", None, ensemble),
    ]
    losses = [mixture_nll(votes, samples, tree).sum(axis=1)[voted] for _, _, samples in ways]
    scores = tuple(
        PassScore(name, network, mean(loss), mean(covered(votes, samples, tree)[counted]))
        for (name, network, samples), loss in zip(ways, losses, strict=True)
    )
    alone = np.mean([loss for score, loss in zip(scores, losses, strict=True) if score.name == "dropout"], axis=0)
    gained = (alone - losses[-1])[:, None]
    gain = bootstrap_means(gained, np.ones_like(gained, dtype=bool))[0]
    return PassComparison(scores, gain, int(voted.sum()), floor)
