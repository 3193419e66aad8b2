"""The support of a trained model: its training galaxies, and validation galaxies to compare others with."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gzflow.model.image_statistics import image_statistics
from gzflow.model.morphology import Morphology, central_crop
from gzflow.model.support import FALSE_ALARMS, Support
from gzflow.shards.reader import ShardSet
from gzflow.training.data import Galaxies

logger = logging.getLogger(__name__)

MOST = 4_000
"""Galaxies of each split that are looked at, evenly spaced."""
_BATCH = 256


def fit_support(model: Morphology, shards: ShardSet, rows: NDArray[np.int64]) -> Support:
    """The support of a model that was trained on `rows` of the training galaxies, calibrated on validation galaxies."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()
    try:
        known = _seen(model, Galaxies(shards, "train", rows=rows))
        held_out = _seen(model, Galaxies(shards, "validation"))
    finally:
        model.to("cpu")
    if len(held_out[0]) < 1 / FALSE_ALARMS - 1:
        logger.warning(
            "%d validation galaxies cannot tell which of 20 galaxies is the farthest out: no galaxy will be called out"
            " of support",
            len(held_out[0]),
        )
    return Support.fit((known[0], held_out[0]), (known[1], held_out[1]))


def _seen(model: Morphology, galaxies: Galaxies) -> tuple[Tensor, Tensor]:
    """(n, d) features and (n, n_statistics) of the pictures as the encoder sees them."""
    places = np.unique(np.linspace(0, len(galaxies) - 1, min(MOST, len(galaxies))).astype(np.int64))
    features, statistics = [], []
    with torch.inference_mode():
        for start in range(0, len(places), _BATCH):
            images, _ = galaxies[[(0, int(place)) for place in places[start : start + _BATCH]]]
            images = central_crop(images, model.spec.input_pixels).to(model.device)
            features.append(model.encode(images).float().cpu())
            statistics.append(image_statistics(images).cpu())
    return torch.cat(features), torch.cat(statistics)
