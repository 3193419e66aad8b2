"""How probable the volunteers' votes are under predicted concentrations, in float64.

Kept apart from the loss that trains the model: the two implementations check each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

from gzflow.tree import DecisionTree

CHUNK = 4_000_000
"""Values handled at once: 43,000 galaxies x 20 samples x 34 answers would need gigabytes in one piece."""


def log_likelihood(votes: NDArray[Any], concentrations: NDArray[Any], tree: DecisionTree) -> NDArray[np.float64]:
    """(..., n_questions) natural logarithms of Dirichlet-multinomial probabilities, coefficient included.

    Parameters
    ----------
    votes
        (..., n_answers) counts.
    concentrations
        (..., n_answers), above 0, broadcast against `votes`.

    Returns
    -------
    Exactly 0 where a question got no votes.

    Notes
    -----
    The likelihood of Walmsley et al. 2022 (MNRAS 509, 3966): votes are multinomial given the galaxy's vote fractions,
    and those are Dirichlet-distributed.
    """
    counts = np.asarray(votes, dtype=np.float64)
    alpha = np.asarray(concentrations, dtype=np.float64)
    starts = [part.start for part in tree.slices]
    total = np.add.reduceat(counts, starts, axis=-1)
    precision = np.add.reduceat(alpha, starts, axis=-1)
    each = gammaln(counts + alpha) - gammaln(alpha) - gammaln(counts + 1)
    result = gammaln(total + 1) + gammaln(precision) - gammaln(total + precision)
    result = result + np.add.reduceat(each, starts, axis=-1)
    return np.where(total > 0, result, 0.0)


def mixture_nll(votes: NDArray[Any], concentrations: NDArray[Any], tree: DecisionTree) -> NDArray[np.float64]:
    """(n, n_questions) negative log-likelihoods of an equal-weight mixture of samples.

    Parameters
    ----------
    votes
        (n, n_answers) counts.
    concentrations
        (n, n_samples, n_answers), one set of concentrations a head sample.

    Notes
    -----
    The likelihoods of the samples are averaged, not their logarithms: -log(mean_s p(votes | alpha_s)).
    """
    n, samples, answers = concentrations.shape
    result = np.empty((n, len(tree.questions)))
    step = max(1, CHUNK // max(1, samples * answers))
    for start in range(0, n, step):
        part = slice(start, start + step)
        each = log_likelihood(votes[part, None, :], concentrations[part], tree)
        result[part] = np.log(samples) - logsumexp(each, axis=1)
    # A question that nobody was asked says log(s) - log(s * 1), which rounding leaves a hair from 0.
    return np.where(np.add.reduceat(votes, [part.start for part in tree.slices], axis=1) > 0, result, 0.0)
