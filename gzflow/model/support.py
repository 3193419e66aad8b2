"""How far a galaxy lies from what a model was trained on, as the share of held-out galaxies that lie as far.

Two distances are taken, each to the tenth nearest of the training galaxies (Sun et al. 2022, ICML, arXiv:2204.06507):
between the encoder's features, and between the pictures' statistics, which see what an encoder has learnt to ignore.
Features are whitened first, in which Euclidean distances are Mahalanobis ones (Lee et al. 2018, NeurIPS,
arXiv:1807.03888). Statistics become normal scores: many have a long tail on one side, and by their standard
deviations differences among the usual pictures, such as of noise, would count for little. Distances mean nothing by
themselves: they become conformal p-values (Bates et al. 2023, Annals of Statistics 51, 149), the rank among the
distances of galaxies which the model was not trained on. The smaller one of both decides (Tippett's combination),
ranked once more.
"""

from __future__ import annotations

from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from gzflow.errors import ModelError

FALSE_ALARMS = 0.05
"""Below this support a galaxy counts as out of support: as often as this it happens to galaxies like the training's."""
NEIGHBOUR = 10
MOST_DIRECTIONS = 64
MOST_NEIGHBOURS = 2_000
"""Training galaxies that are kept to measure distances from."""
QUANTILES = 101
_SMALLEST_VARIANCE = 1e-6
"""Of the largest: directions in which training galaxies differ less are rounding."""
_ROUNDING = 1e-5
"""Of the size of the features: what float32 may make of the same galaxy in another batch or with folded layers. The
features of an encoder that has learnt nothing yet can differ by no more than that, and are then not looked at."""
_LAST_BITS = 1e-6
"""Of a statistic's largest value: what float32 may make of it on another machine or in another batch."""
_PARTS = ("centre", "axes", "known", "calibration")


class Space(nn.Module):
    """Where distances to training galaxies are measured, and those of held-out galaxies that give them a meaning.

    Parameters
    ----------
    centre, axes
        (d,) and (d, k): a point becomes (point - centre) @ axes.
    known
        (m, k) training galaxies.
    calibration
        (c,) distances of held-out galaxies, ascending.
    quantiles
        (101, d) of the training galaxies, by which points become `normal_scores` first; None: they are taken as they
        are, as the statistics were in supports of before.
    """

    centre: Tensor
    axes: Tensor
    known: Tensor
    calibration: Tensor
    quantiles: Tensor | None

    def __init__(
        self, centre: Tensor, axes: Tensor, known: Tensor, calibration: Tensor, quantiles: Tensor | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("quantiles", quantiles, persistent=False)
        for name, tensor in zip(_PARTS, (centre, axes, known, calibration), strict=True):
            # No part of the model's weights: the support has a file of its own.
            self.register_buffer(name, tensor.contiguous(), persistent=False)

    @classmethod
    def fit(cls, points: Tensor, held_out: Tensor, quantiles: Tensor | None = None) -> Self:
        """The space of (n, d) training galaxies, calibrated by (c, d) others.

        Without `quantiles` axes are whitened, with them they are those of the normal scores.
        """
        if quantiles is not None:
            points = normal_scores(points.float(), quantiles).double()
        centre = points.mean(0)
        inner = points - centre
        if quantiles is None:
            variances, directions = torch.linalg.eigh(inner.T @ inner / len(points))
            largest = torch.arange(len(variances) - 1, -1, -1)[:MOST_DIRECTIONS]
            rounding = _ROUNDING**2 * points.square().mean()
            largest = largest[variances[largest] > torch.maximum(_SMALLEST_VARIANCE * variances[-1], rounding)]
            axes = directions[:, largest] / variances[largest].sqrt()
        else:
            spread = inner.square().mean(0).sqrt()
            # A statistic that is the same in all has scores of 0, and its scale for others by itself.
            axes = torch.diag(1 / torch.where(spread > _SMALLEST_VARIANCE, spread, 1))
        rows = torch.linspace(0, len(points) - 1, min(len(points), MOST_NEIGHBOURS)).long()
        space = cls(centre.float(), axes.float(), (inner[rows] @ axes).float(), torch.zeros(0), quantiles)
        space.calibration = space.distances(held_out.float()).sort().values
        return space

    def distances(self, points: Tensor) -> Tensor:
        """(n,) squared distances of (n, d) points to their tenth nearest training galaxy."""
        if self.quantiles is not None:
            points = normal_scores(points, self.quantiles)
        places = (points - self.centre) @ self.axes
        squares = places.square().sum(1, keepdim=True) + self.known.square().sum(1)
        apart = torch.addmm(squares, places, self.known.T, alpha=-2)
        return apart.topk(min(NEIGHBOUR, len(self.known)), largest=False, sorted=True).values[:, -1]

    def forward(self, points: Tensor) -> Tensor:
        """(n,) conformal p-values of (n, d) points."""
        return conformal(self.distances(points), self.calibration)


class Support(nn.Module):
    """What a saved model keeps of its training galaxies, to tell which others are like them.

    Parameters
    ----------
    features, statistics
        Distances between encoder features, and between the statistics of pictures.
    least
        (c,) the smaller p-values of the held-out galaxies, ascending.
    quantiles
        (101, n_statistics) of the training galaxies' statistics, from the smallest to the largest.
    """

    least: Tensor
    quantiles: Tensor

    def __init__(self, features: Space, statistics: Space, least: Tensor, quantiles: Tensor) -> None:
        super().__init__()
        self.features, self.statistics = features, statistics
        self.register_buffer("least", least.contiguous(), persistent=False)
        self.register_buffer("quantiles", quantiles.contiguous(), persistent=False)

    @classmethod
    def fit(cls, features: tuple[Tensor, Tensor], statistics: tuple[Tensor, Tensor]) -> Self:
        """The support of training galaxies, calibrated by held-out ones: (n, d) and (c, d) of each."""
        levels = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
        quantiles = statistics[0].double().quantile(levels, dim=0).float()
        spaces = (
            Space.fit(features[0].double(), features[1].double()),
            Space.fit(statistics[0].double(), statistics[1].double(), quantiles),
        )
        shares = [
            conformal(space.distances(held_out.float()), space.calibration, new=False)
            for space, held_out in zip(spaces, (features[1], statistics[1]), strict=True)
        ]
        return cls(*spaces, torch.minimum(*shares).sort().values, quantiles)

    def forward(self, features: Tensor, statistics: Tensor) -> Tensor:
        """(n, 3) p-values: of both together, of the features, of the pictures' statistics.

        Parameters
        ----------
        features
            (n, d or more); an ensemble's stand one after the other. Ensembles of before know their first member's
            alone, and look at no others.
        """
        far = self.features(features[:, : len(self.features.centre)].float())
        odd = self.statistics(statistics)
        # A small p-value is far out: the sign turns them into distances.
        both = conformal(-torch.minimum(far, odd), -self.least.flip(0))
        return torch.stack((both, far, odd), 1)

    def to_bytes(self) -> bytes:
        """As a file of its own, without pickle."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.named_buffers()}
        return bytes(save_safetensors(tensors))

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """What `to_bytes` wrote.

        Raises
        ------
        ModelError
            It is something else.
        """
        try:
            tensors = load_safetensors(content)
            spaces = [Space(*(tensors[f"{name}.{part}"] for part in _PARTS)) for name in ("features", "statistics")]
            spaces[1].quantiles = tensors.get("statistics.quantiles")
            return cls(spaces[0], spaces[1], tensors["least"], tensors["quantiles"])
        except (SafetensorError, KeyError) as error:
            raise ModelError(
                "the file of the model's support cannot be read", problems=[str(error)], fix="train the model again"
            ) from error


def conformal(distances: Tensor, calibration: Tensor, *, new: bool = True) -> Tensor:
    """(n,) shares of galaxies that lie at least as far out, each with itself among them: never 0.

    Parameters
    ----------
    calibration
        (c,) distances of held-out galaxies, ascending.
    new
        False for these galaxies themselves, which are counted already.
    """
    closer = torch.searchsorted(calibration, distances.contiguous())
    return (len(calibration) - closer + int(new)).float() / (len(calibration) + 1)


def normal_scores(values: Tensor, quantiles: Tensor) -> Tensor:
    """(n, d) values as a standard normal distribution has them at the same ranks among the training galaxies.

    Between the (q, d) `quantiles`, from the smallest to the largest, ranks are interpolated; what many galaxies have,
    such as no saturated pixel, gets the middle one of their ranks. Beyond both ends scores go on growing, by 1 a
    standard deviation.
    """
    knots, across = quantiles.T.contiguous(), values.T.contiguous()
    last = len(quantiles) - 1
    # A sky of 30 1/3 is one value, whichever machine rounds it, also where it is the only one.
    last_bits = _LAST_BITS * knots.abs().amax(1, keepdim=True)
    spread = knots.std(1, keepdim=True).maximum(last_bits).clamp(min=_SMALLEST_VARIANCE)
    rounding = last_bits.maximum(_ROUNDING * spread)
    first = torch.searchsorted(knots, across - rounding)
    behind = torch.searchsorted(knots, across + rounding, right=True)
    below = (first - 1).clamp(0, last - 1)
    lower, upper = knots.gather(1, below), knots.gather(1, below + 1)
    between = below + ((across - lower) / (upper - lower).clamp(min=_SMALLEST_VARIANCE)).clamp(0, 1)
    ranks = torch.where(behind > first, (first + behind - 1) / 2, between)
    end = 0.5 / len(quantiles)
    beyond = (across - across.clamp(knots[:, :1], knots[:, -1:])) / spread
    return (torch.special.ndtri((ranks / last).clamp(end, 1 - end)) + beyond).T
