"""The support of a trained model: its training galaxies, and validation galaxies to compare others with."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gzflow.model.image_statistics import image_statistics
from gzflow.model.morphology import Morphology
from gzflow.model.support import FALSE_ALARMS, Support
from gzflow.shards.reader import ShardSet
from gzflow.training.data import Galaxies
from gzflow.training.encoding import encoded, on_fastest_device

logger = logging.getLogger(__name__)

MOST = 4_000
"""Galaxies of each split that are looked at, evenly spaced."""


def fit_support(model: Morphology, shards: ShardSet, rows: NDArray[np.int64]) -> Support:
    """The support of a model that was trained on `rows` of the training galaxies, calibrated on validation galaxies."""
    with on_fastest_device(model):
        known = _seen(model, Galaxies(shards, "train", rows=rows))
        held_out = _seen(model, Galaxies(shards, "validation"))
    if len(held_out[0]) < 1 / FALSE_ALARMS - 1:
        logger.warning(
            "%d validation galaxies cannot tell which of 20 galaxies is the farthest out: no galaxy will be called out"
            " of support",
            len(held_out[0]),
        )
    return Support.fit((known[0], held_out[0]), (known[1], held_out[1]))


def _seen(model: Morphology, galaxies: Galaxies) -> tuple[Tensor, Tensor]:
    """(n, d) features and (n, n_statistics) of the pictures as the encoder sees them."""
    features, statistics = [], []
    for images, batch, _ in encoded(model, galaxies, MOST):
        features.append(batch.cpu())
        statistics.append(image_statistics(images).cpu())
    return torch.cat(features), torch.cat(statistics)
