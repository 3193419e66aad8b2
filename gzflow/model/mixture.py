"""The networks of an ensemble side by side: an encoder that is several, and a head that is a mixture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from gzflow.errors import ModelError
from gzflow.model.head import ConcentrationHead
from gzflow.model.spec import require_samples
from gzflow.tree import DecisionTree


class EncoderRow(nn.Module):
    """Several encoders as one: all see the same images, their features stand one after the other."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """(n, sum of dims) features of (n, channels, pixels, pixels) images."""
        return torch.cat([member(images) for member in self.members], dim=1)


class MixtureHead(nn.Module):
    """The heads of several networks, each on its own encoder's features: equal parts of one mixture.

    Lakshminarayanan, Pritzel & Blundell (2017, NIPS 30, section 2.4) mix the predictive distributions of networks
    that differ by their seeds with equal weights; here those are Dirichlets, further mixed over each one's dropout.

    Parameters
    ----------
    members
        The heads, in the order of the encoders.
    dim
        Features of each encoder.
    """

    def __init__(self, members: Sequence[ConcentrationHead], dim: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.dim = dim

    @property
    def heads(self) -> list[ConcentrationHead]:
        """The members' heads."""
        return [head for head in self.members if isinstance(head, ConcentrationHead)]

    def start_from(self, concentrations: ArrayLike) -> None:
        """See `ConcentrationHead.start_from`, for every member."""
        for head in self.heads:
            head.start_from(concentrations)

    def part(self, rows: slice, tree: DecisionTree) -> MixtureHead:
        """See `ConcentrationHead.part`, for every member."""
        return MixtureHead([head.part(rows, tree) for head in self.heads], self.dim)

    def forward(self, features: Tensor) -> Tensor:  # noqa: ARG002 - every head has the method
        """Refused: a mixture has no one set of concentrations.

        Raises
        ------
        ModelError
            Always.
        """
        raise ModelError(
            f"an ensemble of {len(self.members)} members gives no single set of concentrations",
            fix="draw samples with Morphology.concentrations, or ask one member: gzflow.model.ensemble.member",
        )

    def sample(self, features: Tensor, n_samples: int, *, seed: int = 0, keys: Tensor | None = None) -> Tensor:
        """(n, n_samples, n_answers) concentrations: the samples are dealt out, each member draws its own.

        Member i (from 0) draws as it would alone with the seed `seed` + i, the first members one sample more than the
        others where the number does not divide. They follow one another in the order of the members.

        Raises
        ------
        ModelError
            Fewer samples than members.
        """
        n = len(self.members)
        require_samples(n_samples, n)
        parts = features.split(self.dim, dim=1)
        return torch.cat(
            [
                head.sample(part, n_samples // n + (i < n_samples % n), seed=seed + i, keys=keys)
                for i, (head, part) in enumerate(zip(self.heads, parts, strict=True))
            ],
            dim=1,
        )
