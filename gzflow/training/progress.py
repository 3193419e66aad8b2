"""What happens between epochs: saving the best weights and the checkpoint, reporting, and stopping."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from gzflow.durable import replacing
from gzflow.training.fit import Fit
from gzflow.training.metrics import EpochMetrics


class Stopped(Exception):
    """Somebody asked for training to end; what was finished is kept."""


class EpochEnd(Checkpoint):
    """After each epoch: keep the weights if they are the best so far, write the checkpoint, report, maybe stop.

    The best weights are written before the checkpoint: killed in between, the epoch is run again, with the same
    result. A request to stop is looked at before each batch, and leaves the last finished epoch as it is.

    Parameters
    ----------
    model_folder
        Where the best model goes.
    checkpoint
        The file from which a run resumes.
    on_epoch
        Called with the metrics of each finished epoch, on the first process.
    stop
        Asked before each batch.
    """

    def __init__(
        self,
        model_folder: Path,
        checkpoint: Path,
        *,
        on_epoch: Callable[[EpochMetrics], None] | None,
        stop: Callable[[], bool] | None,
    ) -> None:
        self.model_folder = model_folder
        self.checkpoint = checkpoint
        self.on_epoch = on_epoch
        self.stop = stop
        self._on_sigterm = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, *_: Any) -> None:
        """Give SIGTERM back to the program if that cares for it.

        Lightning puts a handler of its own before the program's. An orchestrator that does not find its handler in
        place takes the cancellation of a run for a crash.
        """
        if callable(self._on_sigterm) and current_thread() is main_thread():
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def on_train_batch_start(self, *_: Any) -> None:
        """Leave the run at once if somebody wants it to stop."""
        if self.stop is not None and self.stop():
            raise Stopped

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, report, and stop when patience has run out."""
        fit = pl_module
        assert isinstance(fit, Fit)
        epoch = fit.history[-1]
        if epoch.best and trainer.is_global_zero:
            fit.candidate.save(self.model_folder)
        # Every process takes part in saving, the first one alone writes.
        place = replacing(self.checkpoint) if trainer.is_global_zero else nullcontext(self.checkpoint)
        with place as path:
            trainer.save_checkpoint(path, weights_only=False)
        if self.on_epoch is not None and trainer.is_global_zero:
            self.on_epoch(epoch)
        trainer.should_stop = fit.out_of_patience
