"""What the encoder says of galaxies as prediction sees them: unaugmented, cropped at the centre."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from gzflow.model.morphology import Morphology, central_crop
from gzflow.training.data import Galaxies

_BATCH = 256


@contextmanager
def on_fastest_device(model: Morphology) -> Iterator[None]:
    """Have the model in evaluation mode on CUDA, where there is one; it is on the CPU afterwards."""
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    try:
        yield
    finally:
        model.to("cpu").eval()


def encoded(model: Morphology, galaxies: Galaxies, most: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of images, (n, d) features and (n, n_answers) votes, on the model's device.

    Parameters
    ----------
    galaxies
        Without augmentation.
    most
        So many of them are looked at, evenly spaced.
    """
    places = np.unique(np.linspace(0, len(galaxies) - 1, min(most, len(galaxies))).astype(np.int64))
    for start in range(0, len(places), _BATCH):
        images, votes = galaxies[[(0, int(place)) for place in places[start : start + _BATCH]]]
        images = central_crop(images, model.spec.input_pixels).to(model.device)
        with torch.inference_mode():
            features = model.encode(images).float()
        yield images, features, votes.to(model.device)
