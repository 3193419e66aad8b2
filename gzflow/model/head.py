"""Features -> concentrations, and their Monte Carlo dropout samples without a second encoder pass."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from gzflow.errors import ModelError
from gzflow.model.counter_generator import random_bits
from gzflow.model.spec import RANGE, Likelihood
from gzflow.tree import DecisionTree, head_outputs

_LANES = 4
"""Dropout decisions taken from one 64-bit hash, 16 bits each."""


SURE = 10_000.0
"""What the concentrations of a question add up to where the model gives bare fractions: as if so many votes were in."""


class ConcentrationHead(nn.Module):
    """Dropout, then one linear layer, then a sigmoid scaled to `RANGE`.

    For the multinomial likelihood, a softmax over each question's answers instead, times `SURE`: one fraction a pass,
    as Walmsley et al. 2020 have it, in the form of concentrations so that all else is the same.

    Dropout stands here and nowhere else in the model, so that drawing T dropout samples of a galaxy needs its encoder
    features once: `sample` has the law of T passes through the whole network at hardly more than the price of one.

    Parameters
    ----------
    dim
        Number of features.
    tree
        One concentration an answer; check boxes are parted into questions (`DecisionTree.parted`).
    dropout
        Probability of dropping a feature, rounded to 1/65536.
    bounds
        Open range of the concentrations; fractions have none.
    likelihood
        Of the votes.

    Raises
    ------
    ModelError
        A tree whose check boxes are not parted, or a dropout outside [0, 1).
    """

    def __init__(
        self,
        dim: int,
        tree: DecisionTree,
        dropout: float,
        bounds: tuple[float, float] = RANGE,
        likelihood: Likelihood = "dirichlet-multinomial",
    ) -> None:
        super().__init__()
        self.bounds = bounds
        self.sizes = [len(question.answers) for question in tree.questions]
        self.gives_fractions = likelihood == "multinomial"
        if head_outputs(tree) != len(tree.answers):
            boxes = ", ".join(question.name for question in tree.questions if question.multiple_choice)
            raise ModelError(
                "a head answers check boxes one by one",
                where=f"multiple_choice questions: {boxes}",
                expected="two concentrations a box: ticked, and not ticked",
                fix="pass tree.parted, as Survey.tree is",
            )
        if not 0 <= dropout < 1:
            raise ModelError(f"dropout is {dropout}", expected="at least 0 and below 1")
        self.threshold = round(dropout * 65536)
        self.dropout = nn.Dropout(self.threshold / 65536)
        self.linear = nn.Linear(dim, len(tree.answers))

    def start_from(self, concentrations: ArrayLike) -> None:
        """Make the head answer `concentrations` (n_answers,) for every galaxy, until it has learnt better."""
        with torch.no_grad():
            self.linear.bias.copy_(self._logits(concentrations))
            # Small, not zero: the encoder gets a gradient from the first step on.
            self.linear.weight.normal_(std=0.1 / self.linear.in_features**0.5)

    def _logits(self, concentrations: ArrayLike) -> Tensor:
        low, high = self.bounds
        wanted = torch.as_tensor(concentrations, dtype=torch.float64)
        if self.gives_fractions:
            return wanted.log()
        return torch.logit((wanted.clamp(low + 0.02, high - 1.0) - low) / (high - low))

    def part(self, rows: slice, tree: DecisionTree) -> ConcentrationHead:
        """A copy that gives the outputs `rows` alone, which are the answers of `tree`."""
        alone = copy.deepcopy(self)
        alone.sizes = [len(question.answers) for question in tree.questions]
        for name, parameter in self.linear.named_parameters():
            setattr(alone.linear, name, nn.Parameter(parameter.detach()[self._outputs(rows)]))
        alone.linear.out_features = len(alone.linear.bias)
        return alone

    def _outputs(self, rows: slice) -> Tensor:
        """Numbers of the linear layer's outputs that the answers `rows` need."""
        return torch.arange(rows.start, rows.stop)

    def forward(self, features: Tensor) -> Tensor:
        """(n, n_answers) concentrations of (n, dim) features; dropout acts in training mode only."""
        return self._concentrations(self.dropout(features.float()))

    def sample(self, features: Tensor, n_samples: int, *, seed: int = 0, keys: Tensor | None = None) -> Tensor:
        """(n, n_samples, n_answers) concentrations, each under a dropout mask of its own, in any mode.

        The mask is a hash of (seed, key, sample, feature): a galaxy's samples do not depend on the galaxies beside it
        in the batch, and a part that is predicted again comes out the same.

        Parameters
        ----------
        features
            (n, dim).
        n_samples
            Dropout masks a galaxy, 1 or more.
        seed, keys
            `keys` is an int64 (n,) number a galaxy (see `galaxy_keys`); None numbers the rows.
        """
        dropped = self._dropped(features, n_samples, seed, keys)
        if self.threshold == 0:
            return self._concentrations(dropped[:, 0]).unsqueeze(1).expand(-1, n_samples, -1).clone()
        return self._concentrations(dropped)

    def _dropped(self, features: Tensor, n_samples: int, seed: int, keys: Tensor | None) -> Tensor:
        """(n, n_samples, dim) features, each sample under its mask."""
        if n_samples < 1:
            raise ModelError(f"n_samples is {n_samples}", expected="1 or more")
        features = features.float()
        n, dim = features.shape
        if keys is None:
            keys = torch.arange(n, device=features.device)
        if self.threshold == 0:
            return features.unsqueeze(1).expand(-1, n_samples, -1)
        kept = _kept(keys.to(features.device), seed, n_samples, dim, self.threshold)
        scaled = features * (65536 / (65536 - self.threshold))
        return scaled.unsqueeze(1) * kept

    def _concentrations(self, features: Tensor) -> Tensor:
        # Always in float32: in half precision the steps between concentrations near 100 would be 0.5.
        with torch.autocast(features.device.type, enabled=False):
            logits = self.linear(features)
        if self.gives_fractions:
            # No fraction is 0 to all digits: a concentration must be above 0.
            shares = [part.softmax(-1).clamp(min=1e-8) for part in logits.split(self.sizes, dim=-1)]
            return SURE * torch.cat(shares, dim=-1)
        low, high = self.bounds
        return low + (high - low) * torch.sigmoid(logits)


def galaxy_keys(ids: Iterable[str]) -> NDArray[np.int64]:
    """(n,) one well-mixed number a galaxy, the same wherever and whenever its id is met."""
    return np.frombuffer(b"".join(hashlib.blake2b(i.encode(), digest_size=8).digest() for i in ids), dtype="<i8")


def _kept(keys: Tensor, seed: int, n_samples: int, dim: int, threshold: int) -> Tensor:
    """(n, n_samples, dim) booleans, true with probability 1 - threshold / 65536, the same wherever a key is met."""
    words = -(-dim // _LANES)
    bits = random_bits(keys, seed, n_samples * words)
    # 16-bit lanes as signed numbers run from -32768, so the threshold moves along.
    lanes = bits.view(torch.int16).view(len(keys), n_samples, words * _LANES)
    return lanes[..., :dim] >= threshold - 32768
