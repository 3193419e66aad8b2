"""Volunteers who look at galaxies and walk the survey's decision tree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gzflow.errors import SettingsError
from gzflow.simulation import chance
from gzflow.simulation.galaxies import Galaxies
from gzflow.simulation.opinions import opinions
from gzflow.simulation.perception import perceive
from gzflow.simulation.telescopes import Telescope
from gzflow.tree import DecisionTree

LAPSE = 0.03
"""Share of answers given without looking."""
CHUNK = 200_000
"""Volunteers walking at once; bounds the memory."""


@dataclass(frozen=True)
class Votes:
    """What volunteers answered, and the truth behind it.

    Attributes
    ----------
    counts
        (n, n_answers) int32 votes.
    truth
        (n, n_answers) probability of each answer given that the question is asked, lapses included.
    asked
        (n, n_questions) int32 volunteers who were asked.
    """

    counts: NDArray[np.int32]
    truth: NDArray[np.float64]
    asked: NDArray[np.int32]


def vote(
    galaxies: Galaxies,
    telescope: Telescope,
    tree: DecisionTree,
    n_volunteers: ArrayLike,
    seed: int = 42,
    *,
    pixscale: ArrayLike | None = None,
    lapse: float = LAPSE,
) -> Votes:
    """Votes of `n_volunteers` a galaxy, one number or (n,), each of whom walks the tree alone.

    Parameters
    ----------
    pixscale
        Arcsec per pixel of the pictures they are shown; None is the telescope's native one.
    lapse
        Share of answers given without looking, at least 0.02: nobody is perfect, and no probability may be 0.

    Raises
    ------
    SurveyError
        Naming the questions and answers that simulated volunteers do not know.
    SettingsError
        A negative number of volunteers, or a lapse rate outside 0.02 to 1.
    """
    numbers = np.broadcast_to(np.asarray(n_volunteers, dtype=np.int64), (len(galaxies),))
    if (numbers < 0).any() or not 0.02 <= lapse <= 1:
        raise SettingsError(
            f"cannot simulate {numbers.min()} or more volunteers with a lapse rate of {lapse}",
            expected="n_volunteers >= 0 and 0.02 <= lapse <= 1",
            fix="correct the arguments",
        )
    truth = opinions(perceive(galaxies, telescope, pixscale), tree, lapse)
    counts, asked = walk(truth, tree, numbers, chance.generator("votes", seed))
    return Votes(counts, truth, asked)


def walk(
    truth: NDArray[np.float64], tree: DecisionTree, numbers: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Votes (n, n_answers) and askings (n, n_questions), int32, of volunteers who answer by `truth`.

    Every volunteer is followed from question to question, so a question with several parents is asked once of a
    volunteer who gave any of them.
    """
    counts = np.zeros((len(truth), len(tree.answers)), np.int32)
    asked = np.zeros((len(truth), len(tree.questions)), np.int32)
    crowd = np.repeat(np.arange(len(truth)), numbers)
    for start in range(0, len(crowd), CHUNK):
        galaxy = crowd[start : start + CHUNK]
        gave = np.zeros((len(galaxy), len(tree.answers)), dtype=bool)
        for q in tree.topological:
            came = [column for _, column in tree.parents[q]]
            here = np.flatnonzero(gave[:, came].any(axis=1)) if came else np.arange(len(galaxy))
            columns = tree.slices[q]
            ladder = np.cumsum(truth[galaxy[here], columns], axis=1)
            answer = (rng.random(len(here))[:, None] * ladder[:, -1:] >= ladder).sum(axis=1)
            gave[here, columns.start + answer] = True
            np.add.at(asked[:, q], galaxy[here], 1)
        np.add.at(counts, galaxy, gave.astype(np.int32))
    return counts, asked
