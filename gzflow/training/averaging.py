"""A running average of a model's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def averaged_copy(model: nn.Module) -> nn.Module:
    """A copy to hold the average; it is evaluated and saved, never trained."""
    return copy.deepcopy(model).requires_grad_(requires_grad=False).eval()


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the model: by 1 - decay, and by more in the first steps, when there is little to keep.

    The running statistics of normalisation layers are averaged like weights; counters are copied.
    """
    decay = min(decay, (1 + step) / (10 + step))
    target = [*average.parameters(), *average.buffers()]
    source = [*model.parameters(), *model.buffers()]
    floats = [(t, s) for t, s in zip(target, source, strict=True) if t.is_floating_point()]
    get_ema_multi_avg_fn(decay)([t for t, _ in floats], [s for _, s in floats], step)
    for t, s in zip(target, source, strict=True):
        if not t.is_floating_point():
            t.copy_(s)
