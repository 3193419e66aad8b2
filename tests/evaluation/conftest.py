from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from gzflow.tree import DecisionTree, Question

TREE = DecisionTree(
    (
        Question("shape", ("smooth", "featured", "artifact")),
        Question("edge-on", ("yes", "no"), ("shape=featured",)),
        Question("arms", ("1", "2", "more"), ("edge-on=no",)),
    )
)


@dataclass(frozen=True)
class Sample:
    """Galaxies whose volunteers walked the tree, and concentrations that really made their vote fractions."""

    tree: DecisionTree
    votes: NDArray[np.int32]
    concentrations: NDArray[np.float64]
    baseline: NDArray[np.float64]


def simulate(n: int, seed: int, *, volunteers: tuple[int, int] = (15, 60), samples: int = 3) -> Sample:
    generator = np.random.default_rng(seed)
    alpha = np.exp(generator.uniform(0.0, 3.5, (n, len(TREE.answers))))
    fractions = np.hstack([np.stack([generator.dirichlet(row[part]) for row in alpha]) for part in TREE.slices])
    asked = TREE.proportion_asked(fractions)
    total = generator.integers(*volunteers, n)
    votes = np.zeros((n, len(TREE.answers)), dtype=np.int32)
    for q, part in enumerate(TREE.slices):
        times = generator.binomial(total, asked[:, q])
        votes[:, part] = [generator.multinomial(k, p / p.sum()) for k, p in zip(times, fractions[:, part], strict=True)]
    return Sample(TREE, votes, np.repeat(alpha[:, None], samples, axis=1), np.full(len(TREE.answers), 1.3))


@pytest.fixture(scope="session")
def sample() -> Sample:
    return simulate(400, seed=5)
