"""A head that gives several Dirichlets a question, each with a weight: for fractions that one Dirichlet cannot hold."""

from __future__ import annotations

from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from gzflow.model.counter_generator import random_bits
from gzflow.model.head import ConcentrationHead
from gzflow.model.spec import RANGE
from gzflow.tree import DecisionTree


class Components(NamedTuple):
    """Mixtures of Dirichlets.

    Attributes
    ----------
    concentrations
        (..., n_components, n_answers).
    log_weights
        (..., n_components, n_questions), natural logarithms of weights that sum to 1 over the components.
    """

    concentrations: Tensor
    log_weights: Tensor


class ComponentHead(ConcentrationHead):
    """Dropout, then one linear layer to the concentrations and weights of a mixture a question.

    A Dirichlet has one precision for all answers of its question and one peak (or all its weight at the ends). Votes
    ask for more: where the image leaves open whether there is a bar, the fraction is high or low and hardly between,
    and how many click at random is known either way. A mixture density network (Bishop 1994, Aston University
    NCRG/94/004) says so; its likelihood is a mixture of Dirichlet-multinomials (Holmes, Harris & Quince 2012, PLoS ONE
    7, e30126).

    Parameters
    ----------
    components
        Dirichlets a question, 2 or more.
    dim, tree, dropout, bounds
        See `ConcentrationHead`.
    """

    def __init__(
        self, dim: int, tree: DecisionTree, dropout: float, bounds: tuple[float, float] = RANGE, components: int = 2
    ) -> None:
        super().__init__(dim, tree, dropout, bounds)
        self.components = components
        self.linear = nn.Linear(dim, components * (len(tree.answers) + len(tree.questions)))

    def start_from(self, concentrations: ArrayLike) -> None:
        """See `ConcentrationHead.start_from`; the components start apart, else they would all learn the same."""
        logits = self._logits(concentrations).repeat(self.components)
        with torch.no_grad():
            self.linear.bias.zero_()
            self.linear.bias[: len(logits)] = logits + torch.randn(len(logits))
            self.linear.weight.normal_(std=0.1 / self.linear.in_features**0.5)

    def forward(self, features: Tensor) -> Components:
        """Mixtures (n, components, ...) of (n, dim) features; dropout acts in training mode only."""
        return self._mixture(self.dropout(features.float()))

    def sample(self, features: Tensor, n_samples: int, *, seed: int = 0, keys: Tensor | None = None) -> Tensor:
        """(n, n_samples, n_answers) concentrations, each of one component under a dropout mask of its own.

        The samples are dealt to the components by systematic sampling: of T samples, a component of weight w gets
        w T, up or down to a whole number, by a hash of (seed, key) that is right on average. So the samples stand for
        the mixture with equal weights, like those of any other head.

        Parameters
        ----------
        features, n_samples, seed, keys
            See `ConcentrationHead.sample`.
        """
        dropped = self._dropped(features, n_samples, seed, keys)
        if keys is None:
            keys = torch.arange(len(features), device=features.device)
        concentrations, log_weights = self._mixture(dropped)
        places = _places(keys.to(features.device), seed, n_samples, len(self.sizes))
        chosen = (places.unsqueeze(2) >= log_weights.exp().cumsum(2)[:, :, :-1]).sum(2)
        sizes = torch.tensor(self.sizes, device=features.device)
        by_answer = chosen.repeat_interleave(sizes, dim=2).unsqueeze(2)
        return concentrations.gather(2, by_answer).squeeze(2)

    def _mixture(self, features: Tensor) -> Components:
        with torch.autocast(features.device.type, enabled=False):
            logits = self.linear(features)
        low, high = self.bounds
        sizes = [self.components * sum(self.sizes), self.components * len(self.sizes)]
        parts = [part.unflatten(-1, (self.components, -1)) for part in logits.split(sizes, dim=-1)]
        return Components(low + (high - low) * parts[0].sigmoid(), parts[1].log_softmax(-2))

    def _outputs(self, rows: slice) -> Tensor:
        answers, questions = sum(self.sizes), len(self.sizes)
        ends = torch.tensor(self.sizes).cumsum(0)
        first, last = int((ends <= rows.start).sum()), int((ends <= rows.stop).sum())
        number = torch.arange(self.components).unsqueeze(1)
        own = number * answers + torch.arange(rows.start, rows.stop)
        weights = self.components * answers + number * questions + torch.arange(first, last)
        return torch.cat([own.flatten(), weights.flatten()])


def _places(keys: Tensor, seed: int, n_samples: int, n_questions: int) -> Tensor:
    """(n, n_samples, n_questions) places in [0, 1): evenly spaced over the samples, in another order a question."""
    # Another seed than that of the dropout masks, which these must not follow.
    bits = random_bits(keys, ~seed, (n_samples + 1) * n_questions).view(len(keys), -1, n_questions)
    # 24 bits are what a float32 holds.
    start = ((bits[:, :1] >> 40) & 0xFFFFFF).float() / 2**24
    return (bits[:, 1:].argsort(1).float() + start) / n_samples
