"""The loss, and the best constant answer to it.

For one question with votes k of N volunteers and concentrations α that sum to A, the Dirichlet-multinomial negative
log-likelihood is

    -ln Γ(N+1) - ln Γ(A) + ln Γ(N+A) + Σ [ln Γ(k+1) + ln Γ(α) - ln Γ(k+α)]

(the loss of Walmsley et al. 2022, MNRAS 509, 3966, with the multinomial coefficient kept so that it is a likelihood).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from gzflow.errors import TrainingError
from gzflow.model.components import Components
from gzflow.model.spec import Likelihood
from gzflow.tree import DecisionTree

BASELINE_BOUNDS = (0.01, 10_000.0)
_NEWTON_STEPS = 200


def dirichlet_multinomial_nll(
    votes: Tensor, concentrations: Tensor, tree: DecisionTree, *, validate: bool = True
) -> Tensor:
    """Negative log-likelihood of each galaxy's votes on each question, in nats.

    Parameters
    ----------
    votes
        (n, n_answers) counts, of any number type.
    concentrations
        (n, n_answers), positive; half precision is widened to float32.
    tree
        Says which columns form a question.
    validate
        Look at the values first. On an accelerator that waits for the device: a training loop may switch it off and
        check its running sums instead.

    Returns
    -------
    (n, n_questions), float64 for float64 concentrations and else float32; exactly 0, with exactly zero gradient,
    where nobody was asked. The sums run in float64 in either case, because ln Γ loses up to 5e-4 in plain float32.

    Raises
    ------
    TrainingError
        Shapes that do not fit the tree; negative or missing votes; concentrations that are not positive and finite,
        naming the questions.
    """
    _check_shapes(votes, concentrations, tree)
    out = torch.float64 if concentrations.dtype == torch.float64 else torch.float32
    # Apple's devices have no float64: there, and only there, the sums run in float32.
    work = torch.float32 if concentrations.device.type == "mps" else torch.float64
    if validate:
        _check_values(votes, concentrations, tree)
    counts = votes.to(work)
    alpha = concentrations.to(work)
    sizes = [len(question.answers) for question in tree.questions]

    def per_question(values: Tensor) -> Tensor:
        return torch.stack([part.sum(1) for part in values.split(sizes, dim=1)], dim=1)

    asked = per_question(counts)
    total = per_question(alpha)
    answers = per_question(torch.lgamma(counts + 1) + torch.lgamma(alpha) - torch.lgamma(counts + alpha))
    nll = answers - torch.lgamma(asked + 1) - torch.lgamma(total) + torch.lgamma(asked + total)
    return torch.where(asked > 0, nll, torch.zeros_like(nll)).to(out)


def multinomial_nll(votes: Tensor, concentrations: Tensor, tree: DecisionTree, *, validate: bool = True) -> Tensor:
    """Negative log-likelihood of the votes if the concentrations' mean fractions ρ were each galaxy's own, in nats.

    The loss of Walmsley et al. 2020 (MNRAS 491, 1554), -[k ln(ρ + 1e-8) + (N - k) ln(1 - ρ + 1e-8)], for any number of
    answers, with the multinomial coefficient kept so that it is a likelihood. See `dirichlet_multinomial_nll` for
    parameters, result and errors.
    """
    _check_shapes(votes, concentrations, tree)
    out = torch.float64 if concentrations.dtype == torch.float64 else torch.float32
    work = torch.float32 if concentrations.device.type == "mps" else torch.float64
    if validate:
        _check_values(votes, concentrations, tree)
    questions = []
    for part in tree.slices:
        counts, alpha = votes[:, part].to(work), concentrations[:, part].to(work)
        share = alpha / alpha.sum(1, keepdim=True)
        each = torch.lgamma(counts + 1) - counts * torch.log(share + 1e-8)
        questions.append(each.sum(1) - torch.lgamma(counts.sum(1) + 1))
    return torch.stack(questions, dim=1).to(out)


def components_nll(votes: Tensor, mixture: Components, tree: DecisionTree, *, validate: bool = True) -> Tensor:
    """Negative log-likelihood of the votes under mixtures of Dirichlets, in nats: -ln Σ_c w_c p(votes | α_c).

    Parameters
    ----------
    mixture
        Of (n, n_components, ...).
    votes, tree, validate
        See `dirichlet_multinomial_nll`, also for result and errors.
    """
    n, components, _ = mixture.concentrations.shape
    each = dirichlet_multinomial_nll(
        votes.repeat_interleave(components, 0), mixture.concentrations.flatten(0, 1), tree, validate=validate
    )
    nll = -torch.logsumexp(mixture.log_weights.to(each.dtype) - each.view(n, components, -1), dim=1)
    asked = torch.stack([votes[:, part].sum(1) for part in tree.slices], dim=1)
    return torch.where(asked > 0, nll, torch.zeros_like(nll))


def votes_nll(likelihood: Likelihood, components: int = 1) -> Callable[..., Tensor]:
    """The loss of what a head gives: of its likelihood, or `components_nll` of several components."""
    if components > 1:
        return components_nll
    return multinomial_nll if likelihood == "multinomial" else dirichlet_multinomial_nll


def constant_dirichlet(
    votes: ArrayLike, tree: DecisionTree, bounds: tuple[float, float] = BASELINE_BOUNDS
) -> NDArray[np.float64]:
    """(n_answers,) concentrations that, given to every galaxy alike, make the votes most likely.

    This is the baseline that every trained model must beat, and (with `bounds` inside the head's range) the point from
    which a head starts. Each question is fitted alone by a damped, projected Newton method on ln α over the histogram
    of its counts, so the cost does not grow with the number of galaxies.

    Parameters
    ----------
    votes
        (n, n_answers) counts.
    bounds
        Limits of every concentration. The maximum lies at infinity where votes scatter no more than a multinomial's,
        and at 0 for an answer that nobody gave: the default bounds keep such answers possible, at a cost.

    Notes
    -----
    A question that nobody was asked gets 1 for every answer (all vote counts equally likely), moved into the bounds.

    Raises
    ------
    TrainingError
        Votes that do not fit the tree, or negative ones.
    """
    counts = np.asarray(votes)
    if counts.ndim != 2 or counts.shape[1] != len(tree.answers):
        raise TrainingError(
            f"votes of shape {counts.shape} do not fit the tree", expected=f"(n_galaxies, {len(tree.answers)})"
        )
    if not np.all(np.isfinite(counts)) or np.any(counts < 0):
        raise TrainingError("votes must be finite counts of 0 or more", fix="read the votes again from the catalog")
    counts = np.rint(counts).astype(np.int64)
    return np.concatenate([_fit_question(counts[:, part], bounds) for part in tree.slices])


def unidentified(votes: ArrayLike, tree: DecisionTree) -> tuple[str, ...]:
    """Questions that were asked, of no galaxy more than once: their votes say nothing about concentrations.

    One vote is as likely under any concentrations of the same fractions, so how much galaxies that look alike differ
    cannot be learnt: whatever a head says of it is where it started. Fractions are learnt as ever.

    Parameters
    ----------
    votes
        (n, n_answers) counts of the training galaxies.
    """
    counts = np.asarray(votes)
    most = [counts[:, part].sum(1).max(initial=0) for part in tree.slices]
    return tuple(question.name for question, n in zip(tree.questions, most, strict=True) if n == 1)


def _fit_question(counts: NDArray[np.int64], bounds: tuple[float, float]) -> NDArray[np.float64]:
    asked = counts.sum(1)
    counts, asked = counts[asked > 0], asked[asked > 0]
    low, high = bounds
    if len(asked) == 0:
        return np.full(counts.shape[1], np.clip(1.0, low, high))
    likelihood = _ConstantLikelihood(counts, asked)
    # Start from the mean fractions, with the strength of ten votes.
    alpha = np.clip(10 * counts.sum(0) / asked.sum(), max(low, 0.05), high)
    limits = np.log(low), np.log(high)
    theta = np.log(alpha)
    value, gradient, hessian = likelihood(theta)
    damping = 1e-3
    for _ in range(_NEWTON_STEPS):
        # An answer that wants to leave through a limit stays there for this step.
        free = ~(((theta <= limits[0]) & (gradient > 0)) | ((theta >= limits[1]) & (gradient < 0)))
        if not free.any() or np.abs(gradient[free]).max() < 1e-9 * len(asked):
            break
        curvature, axes = np.linalg.eigh(hessian[np.ix_(free, free)])
        scale = np.abs(curvature).max() + 1e-12
        step = np.zeros_like(theta)
        step[free] = -(axes / (np.maximum(np.abs(curvature), 1e-10 * scale) + damping * scale)) @ (
            axes.T @ gradient[free]
        )
        proposal = np.clip(theta + np.clip(step, -2, 2), *limits)
        new = likelihood(proposal)
        if new[0] <= value:
            converged = value - new[0] <= 1e-14 * abs(value) and np.abs(proposal - theta).max() < 1e-9
            theta, (value, gradient, hessian) = proposal, new
            damping = max(damping / 10, 1e-12)
            if converged:
                break
        else:
            damping *= 10
            if damping > 1e12:
                break
    return np.exp(theta)


class _ConstantLikelihood:
    """Negative log-likelihood of one question under one α for all, with its derivatives in θ = ln α.

    Terms without α are left out.
    """

    def __init__(self, counts: NDArray[np.int64], asked: NDArray[np.int64]) -> None:
        self.totals, self.n_totals = np.unique(asked, return_counts=True)
        values = [np.unique(column, return_counts=True) for column in counts.T]
        self.answer = np.repeat(np.arange(len(values)), [len(v) for v, _ in values])
        self.counts = np.concatenate([v for v, _ in values])
        self.n_counts = np.concatenate([n for _, n in values]).astype(np.float64)
        self.n_answers = len(values)

    def __call__(self, theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        alpha = np.exp(theta)
        total = alpha.sum()
        many, per = alpha[self.answer], self.n_counts
        value = self._sum(per * (_lgamma(many) - _lgamma(many + self.counts))).sum()
        value += (self.n_totals * (_lgamma(total + self.totals) - _lgamma(total))).sum()
        shared = (self.n_totals * (_polygamma(0, total + self.totals) - _polygamma(0, total))).sum()
        slope = self._sum(per * (_polygamma(0, many) - _polygamma(0, many + self.counts))) + shared
        bend = self._sum(per * (_polygamma(1, many) - _polygamma(1, many + self.counts)))
        shared_bend = (self.n_totals * (_polygamma(1, total + self.totals) - _polygamma(1, total))).sum()
        hessian = np.outer(alpha, alpha) * shared_bend + np.diag(alpha * slope + alpha**2 * bend)
        return float(value), alpha * slope, hessian

    def _sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(self.answer, weights=values, minlength=self.n_answers).astype(np.float64, copy=False)


def _lgamma(x: Any) -> NDArray[np.float64]:
    return torch.lgamma(torch.as_tensor(x, dtype=torch.float64)).numpy()


def _polygamma(order: int, x: Any) -> NDArray[np.float64]:
    return torch.special.polygamma(order, torch.as_tensor(x, dtype=torch.float64)).numpy()


def _check_shapes(votes: Tensor, concentrations: Tensor, tree: DecisionTree) -> None:
    if votes.shape != concentrations.shape or votes.ndim != 2 or votes.shape[1] != len(tree.answers):
        raise TrainingError(
            f"votes of shape {tuple(votes.shape)} and concentrations of shape {tuple(concentrations.shape)} do not fit"
            " the tree",
            expected=f"both (n_galaxies, {len(tree.answers)})",
            fix="order the columns as tree.answers",
        )


def _check_values(votes: Tensor, concentrations: Tensor, tree: DecisionTree) -> None:
    # `not (x >= 0)` also catches NaN.
    wrong_votes = ~(votes >= 0) | torch.isinf(votes)
    wrong_alpha = ~(concentrations > 0) | torch.isinf(concentrations)
    if not bool((wrong_votes | wrong_alpha).any()):
        return
    problems = []
    for question, part in zip(tree.questions, tree.slices, strict=True):
        if n := int(wrong_votes[:, part].any(1).sum()):
            problems.append(f"question {question.name!r}: negative or missing votes for {n} galaxies")
        if n := int(wrong_alpha[:, part].any(1).sum()):
            problems.append(f"question {question.name!r}: concentrations not positive and finite for {n} galaxies")
    raise TrainingError(
        "the loss is undefined",
        problems=problems,
        expected="counts of 0 or more and finite concentrations above 0",
        fix="check the votes; if the concentrations are NaN or infinite, training diverged: use a lower lr",
    )
