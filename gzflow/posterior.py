"""What a model's concentrations say about the volunteers' answers.

A model gives, for each galaxy and each dropout sample, one Dirichlet distribution a question. The posterior of an
answer's vote fraction is the equal-weight mixture of its Beta marginals, Beta(α, A - α) with A the question's sum of
α, over the samples (Walmsley et al. 2022, MNRAS 509, 3966, for the Dirichlet; peers publish the median of the single
samples' quantiles, which leaves the scatter between samples out).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gzflow.errors import PredictionError
from gzflow.tree import DecisionTree, head_outputs

Array = NDArray[np.float64]

_NODES = 64
_WIDTHS_A_PANEL = 20
_BLOCK = 160
"""Marginals integrated together: with 20 samples the work arrays stay in a core's cache."""


def fractions(concentrations: ArrayLike, tree: DecisionTree) -> Array:
    """(n, n_answers) expected vote fractions: the mean over samples of α / A.

    Parameters
    ----------
    concentrations
        (n, n_samples, n_answers), positive.
    """
    alpha, total = _checked(concentrations, tree)
    return (alpha / total).mean(1)


def variances(concentrations: ArrayLike, tree: DecisionTree) -> Array:
    """(n, n_answers) variances of the vote fractions, within samples and between them.

    Notes
    -----
    The law of total variance: the mean over samples of α (A - α) / (A² (A + 1)), plus the variance of α / A.
    """
    alpha, total = _checked(concentrations, tree)
    share = alpha / total
    return (share * (1 - share) / (total + 1)).mean(1) + share.var(1)


def count_variances(means: ArrayLike, spreads: ArrayLike, votes: ArrayLike) -> Array:
    """Variances of the observed fraction k / N of N votes: what `variances` says, and the luck of N draws.

    Compare observed fractions with these. N votes scatter around a fraction that is itself uncertain.

    Parameters
    ----------
    means, spreads
        `fractions` and `variances` of any mixture, of one shape.
    votes
        N, votes for the question; an array that broadcasts with them. 0 gives NaN: there is no fraction to compare.

    Notes
    -----
    m (1 - m) / N + v (1 - 1 / N), the law of total variance over the fraction. For one Dirichlet it is
    α (A - α) (N + A) / (N A² (A + 1)), the Dirichlet-multinomial's variance over N².
    """
    mean, spread = np.asarray(means, np.float64), np.asarray(spreads, np.float64)
    n = np.asarray(votes, np.float64)
    n = np.where(n > 0, n, np.nan)
    return np.asarray(mean * (1 - mean) / n + spread * (1 - 1 / n), np.float64)


def proportions_asked(concentrations: ArrayLike, tree: DecisionTree) -> Array:
    """(n, n_questions) expected shares of volunteers who are asked each question.

    The mean over samples of `DecisionTree.proportion_asked`. Within a sample the questions are independent, so that
    products of its fractions are exact; over samples they go together, and the product of means would not be.
    """
    alpha, total = _checked(concentrations, tree)
    return np.asarray(_asked(alpha / total, tree).mean(1), np.float64)


def expected_votes(concentrations: ArrayLike, tree: DecisionTree, volunteers: float) -> Array:
    """(n, n_answers) expected numbers of votes when so many volunteers look at each galaxy.

    Volunteers x the mean over samples of (share asked x fraction): see `proportions_asked`.

    Parameters
    ----------
    volunteers
        Above 0.
    """
    if not volunteers > 0 or np.isinf(volunteers):
        raise PredictionError(f"{volunteers} volunteers", expected="a number above 0")
    alpha, total = _checked(concentrations, tree)
    share = alpha / total
    return np.asarray(volunteers * (_asked(share, tree)[:, :, tree.question_of_answer] * share).mean(1), np.float64)


def intervals(concentrations: ArrayLike, tree: DecisionTree, level: float = 0.9) -> tuple[Array, Array]:
    """(lower, upper), each (n, n_answers): the central interval that holds `level` of the mixture.

    Parameters
    ----------
    concentrations
        (n, n_samples, n_answers), positive.
    level
        Probability inside, between 0 and 1; (1 - level) / 2 lies on either side.

    Notes
    -----
    The probability below each bound is within 1e-6 of what it should be for concentrations of 1 or more, and within
    1e-4 down to 0.1, where a head's range ends. ``benchmarks/bench_posterior.py`` measures the rate.
    """
    if not 0 < level < 1:
        raise PredictionError(f"level is {level}", expected="above 0 and below 1, as 0.9")
    alpha, total = _checked(concentrations, tree)
    n, n_samples, n_answers = alpha.shape
    # One row a marginal, its samples side by side.
    yes = np.ascontiguousarray(alpha.transpose(0, 2, 1)).reshape(-1, n_samples)
    no = np.ascontiguousarray((total - alpha).transpose(0, 2, 1)).reshape(-1, n_samples)
    lower, upper = mixture_quantiles(yes, no, np.array([(1 - level) / 2, (1 + level) / 2])).reshape(2, n, n_answers)
    return lower, upper


def mixture_quantiles(a: Array, b: Array, levels: Array) -> Array:
    """(n_levels, k) quantiles of k equal-weight mixtures of Beta(a, b), each over the columns of (k, n_samples).

    In t = ln(x / (1 - x)) a Beta density is analytic, with exponential tails, for all a and b. It is sampled at
    Gauss-Legendre nodes in arsinh of the distance from the mixture's centre, fine in the core and coarse in the tails,
    and integrated as the polynomial through the nodes; no gamma function is needed, since each component is divided by
    its own integral. One panel of nodes is enough when the samples are alike; where they are far apart compared with
    their widths, the support is cut into as many panels as the narrowest needs.
    """
    quantiles = np.empty((len(levels), len(a)))
    support = _Support.of(a, b)
    for n_panels in np.unique(support.n_panels):
        rows = np.flatnonzero(support.n_panels == n_panels)
        for block in np.array_split(rows, -(-len(rows) * n_panels // _BLOCK)):
            quantiles[:, block] = _block_quantiles(a[block], b[block], levels, support.take(block), int(n_panels))
    return quantiles


@dataclass(frozen=True)
class _Support:
    """Where k mixtures lie: t = centre + core sinh(u), with u from `low` to `high`; all (k,)."""

    centre: Array
    core: Array
    low: Array
    high: Array
    n_panels: NDArray[np.int64]

    @classmethod
    def of(cls, a: Array, b: Array) -> _Support:
        mode = np.log(a / b)
        width = np.sqrt(1 / a + 1 / b)
        centre = mode.mean(1)
        core = 1.5 * np.sqrt((width**2).mean(1) + mode.var(1))
        # Beyond these a component holds less than 1e-9: Gaussian in the core, exp(-a |t|) and exp(-b |t|) in the tails.
        low = np.arcsinh(((mode - 6 * width - 20 / a).min(1) - centre) / core)
        high = np.arcsinh(((mode + 6 * width + 20 / b).max(1) - centre) / core)
        stretch = core[:, None] * np.sqrt(1 + ((mode - centre[:, None]) / core[:, None]) ** 2)
        narrowest = (width / stretch).min(1)
        wanted = np.ceil((high - low) / narrowest / _WIDTHS_A_PANEL)
        return cls(centre, core, low, high, 2 ** np.ceil(np.log2(np.maximum(wanted, 1))).astype(np.int64))

    def take(self, rows: NDArray[np.int64]) -> _Support:
        return _Support(self.centre[rows], self.core[rows], self.low[rows], self.high[rows], self.n_panels[rows])


def _block_quantiles(a: Array, b: Array, levels: Array, support: _Support, n_panels: int) -> Array:
    nodes, weights, primitive, barycentric = _RULE
    k, n_samples = a.shape
    half = ((support.high - support.low) / (2 * n_panels))[:, None, None]
    starts = support.low[:, None, None] + 2 * half * np.arange(n_panels)[:, None]
    u = (starts + half * (nodes + 1)).reshape(k, -1)
    t = support.centre[:, None] + support.core[:, None] * np.sinh(u)
    jacobian = half[:, 0] * support.core[:, None] * np.cosh(u)
    # ln x and ln(1 - x), without cancellation in either tail.
    tail = np.log1p(np.exp(-np.abs(t)))
    log_yes, log_no = np.minimum(t, 0) - tail, np.minimum(-t, 0) - tail
    total = a + b
    peak = a * np.log(a / total) + b * np.log(b / total)
    density = a[:, :, None] * log_yes[:, None, :]
    density += b[:, :, None] * log_no[:, None, :]
    density -= peak[:, :, None]
    np.exp(density, out=density)
    masses = np.matmul(density, (jacobian * np.tile(weights, n_panels))[:, :, None])[:, :, 0]
    mixture = (np.matmul((1 / (masses * n_samples))[:, None, :], density)[:, 0] * jacobian).reshape(k, n_panels, -1)
    ends = np.cumsum(mixture @ weights, axis=1)
    rows = np.arange(k)
    quantiles = np.empty((len(levels), k))
    for i, level in enumerate(levels):
        panel = np.minimum((ends < level).sum(1), n_panels - 1)
        before = np.where(panel > 0, ends[rows, panel - 1], 0.0)
        here = mixture[rows, panel]
        place = _inverted(here @ primitive.T, here, level - before, nodes, barycentric)
        u_here = starts[rows, panel, 0] + half[:, 0, 0] * (place + 1)
        quantiles[i] = _logistic(support.centre + support.core * np.sinh(u_here))
    return quantiles


def _logistic(t: Array) -> Array:
    small = np.exp(-np.abs(t))
    return np.where(t >= 0, 1.0, small) / (1 + small)


def _inverted(cumulative: Array, density: Array, level: Array, nodes: Array, barycentric: Array) -> Array:
    """(k,) places in [-1, 1] where the cumulative polynomial reaches (k,) levels.

    A bracket between nodes, the secant in it, and three Newton steps kept inside the bracket.
    """
    # The ends -1 (where the integral is 0) and 1 are no nodes, but brackets too.
    right = (cumulative < level[:, None]).sum(1)
    edges = np.concatenate([[-1.0], nodes, [1.0]])
    low, high = edges[right], edges[right + 1]
    inside = np.clip(right, 1, len(nodes) - 1)
    rows = np.arange(len(cumulative))
    f_low, f_high = cumulative[rows, inside - 1], cumulative[rows, inside]
    share = np.divide(level - f_low, f_high - f_low, out=np.full(len(rows), 0.5), where=f_high > f_low)
    # A hair inside: on a node the interpolation formula would divide by 0.
    margin = 1e-9 * (high - low)
    place = np.clip(nodes[inside - 1] + (nodes[inside] - nodes[inside - 1]) * share, low + margin, high - margin)
    for _ in range(3):
        near = barycentric / (place[:, None] - nodes)
        norm = near.sum(1)
        error = np.einsum("kg,kg->k", near, cumulative) / norm - level
        slope = np.einsum("kg,kg->k", near, density) / norm
        step = np.divide(error, slope, out=np.zeros(len(rows)), where=slope > 0)
        place = np.clip(place - step, low + margin, high - margin)
    return place


def _rule(n: int) -> tuple[Array, Array, Array, Array]:
    """Gauss-Legendre nodes and weights on [-1, 1], the primitive's matrix, barycentric interpolation weights.

    The matrix turns values at the nodes into the integrals of their interpolant from -1 to each node.
    """
    nodes, weights = np.polynomial.legendre.leggauss(n)
    vandermonde = np.polynomial.legendre.legvander(nodes, n)
    degrees = np.arange(n)
    # Coefficients of the interpolant are weighted sums; the integral of P_k is (P_{k+1} - P_{k-1}) / (2k + 1).
    coefficients = (vandermonde[:, :n] * weights[:, None]).T * (degrees + 0.5)[:, None]
    integrals = np.empty((n, n))
    integrals[:, 0] = nodes + 1
    integrals[:, 1:] = (vandermonde[:, 2 : n + 1] - vandermonde[:, : n - 1]) / (2 * degrees[1:] + 1)
    barycentric = np.asarray((-1.0) ** degrees * np.sqrt((1 - nodes**2) * weights), np.float64)
    return nodes, weights, integrals @ coefficients, barycentric


_RULE = _rule(_NODES)


def _asked(share: Array, tree: DecisionTree) -> Array:
    """(n, n_samples, n_questions) shares of volunteers asked, in each sample."""
    n, n_samples, n_answers = share.shape
    asked = tree.proportion_asked(share.reshape(-1, n_answers))
    return np.asarray(asked.reshape(n, n_samples, len(tree.questions)), np.float64)


def _checked(concentrations: ArrayLike, tree: DecisionTree) -> tuple[Array, Array]:
    """(α, A), both (n, n_samples, n_answers) in float64."""
    alpha: NDArray[Any] = np.asarray(concentrations)
    if head_outputs(tree) != len(tree.answers):
        raise PredictionError("the tree has check boxes that are not parted", fix="pass tree.parted")
    if alpha.ndim != 3 or alpha.shape[1] < 1 or alpha.shape[2] != len(tree.answers):
        raise PredictionError(
            f"concentrations of shape {alpha.shape} do not fit the tree",
            expected=f"(n_galaxies, n_samples, {len(tree.answers)}) with one sample or more",
        )
    alpha = alpha.astype(np.float64)
    wrong = ~(alpha > 0) | np.isinf(alpha)
    if wrong.any():
        names = [tree.questions[q].name for q in np.unique(tree.question_of_answer[wrong.any((0, 1))])]
        raise PredictionError(
            f"{int(wrong.any((1, 2)).sum())} galaxies have concentrations that are not positive and finite",
            where=f"questions: {', '.join(names)}",
            fix="the model has diverged or its weights are damaged: train it again",
        )
    sums = np.add.reduceat(alpha, [part.start for part in tree.slices], axis=2)
    return alpha, sums[:, :, tree.question_of_answer]
