"""Training steps and validation, as Lightning runs them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from gzflow.model.losses import votes_nll
from gzflow.model.morphology import Morphology, central_crop
from gzflow.training.averaging import averaged_copy, update_average
from gzflow.training.config import FineTuneConfig, TrainConfig
from gzflow.training.data import Batch
from gzflow.training.finetuning import freeze, parameter_groups
from gzflow.training.metrics import EpochMetrics, RunningNLL
from gzflow.training.schedule import warm_cosine


class Fit(LightningModule):
    """The model being trained, its average, and the history so far.

    Parameters
    ----------
    model
        Trained in place.
    config
        Resolved.
    total_steps
        Of the whole run, for the learning rate.

    Attributes
    ----------
    still
        Modules that stay in evaluation mode: what a fine-tune keeps of its parent.
    candidate
        What is validated and saved: the running average, or the model itself when averaging is off.
    history
        All epochs so far, also across a resume.
    """

    def __init__(self, model: Morphology, config: TrainConfig, total_steps: int) -> None:
        super().__init__()
        self.model = _with_quick_statistics(model)
        self.still = freeze(model, config) if isinstance(config, FineTuneConfig) else ()
        self.config = config
        self.total_steps = total_steps
        self.nll = votes_nll(config.likelihood, config.components)
        self.average = cast("Morphology", averaged_copy(model)) if config.average else None
        self.history: list[EpochMetrics] = []
        self._forward: nn.Module = torch.compile(model) if config.compile else model
        self._train: RunningNLL | None = None
        self._validation: RunningNLL | None = None
        self._started = self._trained = 0.0
        self._n_seen = 0

    @property
    def candidate(self) -> Morphology:
        """The weights that count."""
        return self.average if self.average is not None else self.model

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW; the schedule is a factor on each group's own rate."""
        groups = parameter_groups(self.model, self.config)
        optimizer = AdamW(groups, lr=self.config.lr, fused=self.device.type == "cuda")
        schedule = LambdaLR(optimizer, warm_cosine(self.total_steps, self.config.warmup, self.config.final_lr))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Seed dropout by (seed, epoch), so that an epoch that is begun again goes the same way."""
        self.model.train()
        for module in self.still:
            module.eval()
        torch.manual_seed(self.config.seed * 1_000_003 + self.current_epoch + 7919 * self.global_rank)
        self._train = RunningNLL(self.model.tree, self.device)
        self._n_seen = 0
        self._started = time.perf_counter()

    def training_step(self, batch: Batch) -> Tensor:
        """Sum over questions, mean over galaxies."""
        images, votes = batch
        if len(votes) == 1:
            # Batch normalisation needs two: in a set of one, the galaxy stands beside itself.
            images, votes = images.repeat(2, 1, 1, 1), votes.repeat(2, 1)
        # On an accelerator nobody waits for the values: the sums are looked at when the epoch ends.
        validate = self.device.type == "cpu"
        nll = self.nll(votes, self._forward(images), self.model.tree, validate=validate)
        assert self._train is not None
        self._train.add(nll, votes)
        self._n_seen += len(votes)
        return nll.sum(1).mean()

    def on_train_batch_end(self, *_: Any) -> None:
        """Let the average follow."""
        if self.average is not None:
            update_average(self.average, self.model, float(self.config.average), self.global_step)

    def on_validation_epoch_start(self) -> None:
        """Note how long training took; start the sums."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self._trained = time.perf_counter()
        self._validation = RunningNLL(self.model.tree, self.device)
        self._share_statistics()
        self.candidate.eval()

    def _share_statistics(self) -> None:
        """Average what normalisation layers saw over all processes: then all validate the model that one saves."""
        if self.trainer.world_size > 1:
            for buffer in self._moving_statistics():
                buffer.copy_(self.trainer.strategy.reduce(buffer.clone(), reduce_op="mean"))

    def _moving_statistics(self) -> Iterator[Tensor]:
        """Of the model and of its average, not of what is frozen: the mean of equal numbers may be another number."""
        still = {part for module in self.still for part in module.modules()}
        for part, averaged in zip(self.model.modules(), self.candidate.modules(), strict=True):
            if isinstance(part, nn.BatchNorm2d) and part not in still:
                for module in dict.fromkeys((part, averaged)):
                    yield from (b for b in module.buffers() if b.is_floating_point())

    def validation_step(self, batch: Batch) -> None:
        """Central crop, no dropout."""
        images, votes = batch
        concentrations = self.candidate(central_crop(images, self.model.spec.input_pixels))
        assert self._validation is not None
        self._validation.add(self.nll(votes, concentrations, self.model.tree, validate=False), votes)

    def on_train_epoch_end(self) -> None:
        """Close the epoch's books; validation has run by now."""
        assert self._train is not None
        assert self._validation is not None
        for running in (self._train, self._validation):
            running.sums = self.trainer.strategy.reduce(running.sums, reduce_op="sum")
        train_loss, train_nll = self._train.result()
        validation_loss, validation_nll = self._validation.result()
        self.history.append(
            EpochMetrics(
                epoch=self.current_epoch,
                train_loss=train_loss,
                validation_loss=validation_loss,
                train_nll=train_nll,
                validation_nll=validation_nll,
                lr=float(self.optimizers().param_groups[0]["lr"]),
                seconds=time.perf_counter() - self._started,
                images_per_s=self._n_seen * self.trainer.world_size / max(self._trained - self._started, 1e-9),
                best=validation_loss < min((e.validation_loss for e in self.history), default=float("inf")),
            )
        )

    @property
    def best(self) -> EpochMetrics | None:
        """The epoch with the lowest validation loss."""
        return min(self.history, key=lambda e: e.validation_loss, default=None)

    @property
    def out_of_patience(self) -> bool:
        """Whether the last `TrainConfig.patience` epochs brought nothing better."""
        return self.best is not None and self.history[-1].epoch - self.best.epoch >= self.config.patience

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the history: plain numbers and strings, so that a checkpoint loads without unpickling objects."""
        checkpoint["history"] = [epoch.to_dict() for epoch in self.history]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the history up again."""
        self.history = [EpochMetrics(**epoch) for epoch in checkpoint["history"]]


def _with_quick_statistics(model: Morphology) -> Morphology:
    """The model, its batch normalisations following the data within tens of steps.

    Some encoders average over hundreds of steps (momentum 0.01): on a small set their statistics would stay behind the
    weights for many epochs, and validation would judge another network than the one that is trained.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None:
            module.momentum = max(module.momentum, 0.1)
    return model
