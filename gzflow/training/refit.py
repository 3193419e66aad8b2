"""The head once more, by itself: trained to its end on the features of an encoder that stays as it is."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from gzflow.model.head import ConcentrationHead
from gzflow.model.losses import votes_nll
from gzflow.model.morphology import Morphology
from gzflow.shards.reader import ShardSet
from gzflow.training.config import TrainConfig
from gzflow.training.data import Galaxies
from gzflow.training.encoding import encoded, on_fastest_device
from gzflow.training.progress import Stopped
from gzflow.training.schedule import warm_cosine

logger = logging.getLogger(__name__)

MOST = 200_000
"""Training galaxies whose features are learnt from, evenly spaced: 1 GB at 1,280 features."""
_LR, _DECAY, _WARMUP, _FINAL = 1e-3, 0.05, 0.1, 0.01


@dataclass(frozen=True)
class Refit:
    """What it came to.

    Attributes
    ----------
    epochs
        After how many the head was best; 0 leaves it as it was.
    loss_before, loss
        Validation loss of the best epoch's head and of the one that is kept, in nats a galaxy.
    """

    epochs: int
    loss_before: float
    loss: float


def refit_head(
    model: Morphology,
    shards: ShardSet,
    rows: NDArray[np.int64],
    config: TrainConfig,
    *,
    stop: Callable[[], bool] | None = None,
) -> Refit:
    """Train the head of `model`, in place, for `TrainConfig.head_epochs`; the best by validation loss is kept.

    How wide a distribution should be is learnt last: it moves the loss by thousandths where a fraction moves it by
    tenths, and when the encoder's learning rate has come down, the head still has some way to go. Its classifier
    trained again on features that are fixed costs one look at each galaxy (Kang et al. 2020, ICLR, arXiv:1910.09217,
    section 4.1); `benchmarks/bench_calibration.py` measures what it gains.

    Parameters
    ----------
    rows
        Numbers of the training galaxies to learn from.
    config
        Resolved.
    stop
        Asked before each batch.

    Raises
    ------
    Stopped
        Somebody asked for an end; the head is left half trained.
    """
    head = model.head
    assert isinstance(head, ConcentrationHead)  # an ensemble is made of finished members
    logger.info("the head is trained once more, on the features of %d galaxies", min(MOST, len(rows)))
    with on_fastest_device(model):
        known = _features(model, Galaxies(shards, "train", rows=rows), stop)
        held_out = _features(model, Galaxies(shards, "validation"), stop)
        found = _trained(head, known, held_out, model, config, stop)
    logger.info(
        "the head was best after %d of %d epochs: validation loss %.4f -> %.4f",
        found.epochs,
        config.head_epochs,
        found.loss_before,
        found.loss,
    )
    return found


def _trained(
    head: ConcentrationHead,
    known: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor],
    model: Morphology,
    config: TrainConfig,
    stop: Callable[[], bool] | None,
) -> Refit:
    nll = votes_nll(config.likelihood, config.components)

    def loss(features: Tensor, votes: Tensor) -> Tensor:
        return nll(votes, head(features), model.tree, validate=False).sum(1).mean()

    def validated() -> float:
        head.eval()
        with torch.inference_mode():
            return float(loss(*held_out))

    features, votes = known
    assert isinstance(config.batch_size, int)
    batches = -(-len(features) // config.batch_size)
    optimizer = AdamW(
        [{"params": [head.linear.weight], "weight_decay": _DECAY}, {"params": [head.linear.bias], "weight_decay": 0.0}],
        lr=_LR,
    )
    schedule = LambdaLR(optimizer, warm_cosine(batches * config.head_epochs, _WARMUP, _FINAL))
    before = validated()
    best, kept = Refit(0, before, before), copy.deepcopy(head.state_dict())
    with torch.random.fork_rng(devices=[features.device] if features.is_cuda else []):
        torch.manual_seed(config.seed)
        for epoch in range(1, config.head_epochs + 1):
            head.train()
            for chosen in torch.randperm(len(features)).tensor_split(batches):
                _heed(stop)
                optimizer.zero_grad()
                loss(features[chosen], votes[chosen]).backward()
                torch.nn.utils.clip_grad_norm_(head.parameters(), config.clip or float("inf"))
                optimizer.step()
                schedule.step()
            if (now := validated()) < best.loss:
                best, kept = Refit(epoch, before, now), copy.deepcopy(head.state_dict())
    head.load_state_dict(kept)
    return best


def _features(model: Morphology, galaxies: Galaxies, stop: Callable[[], bool] | None) -> tuple[Tensor, Tensor]:
    """(n, d) features and (n, n_answers) votes, on the model's device."""
    features, votes = [], []
    for _, batch, counted in encoded(model, galaxies, MOST):
        _heed(stop)
        features.append(batch)
        votes.append(counted)
    return torch.cat(features), torch.cat(votes)


def _heed(stop: Callable[[], bool] | None) -> None:
    if stop is not None and stop():
        raise Stopped
