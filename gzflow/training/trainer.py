"""Shards in, a trained model out."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from gzflow.errors import TrainingError
from gzflow.model.losses import unidentified
from gzflow.shards.reader import ShardSet
from gzflow.training.augment import Augmentation
from gzflow.training.config import TrainConfig
from gzflow.training.data import Batch, EpochOrder, Galaxies, loader
from gzflow.training.fit import Fit
from gzflow.training.folder import CHECKPOINT, MODEL, claim, clear
from gzflow.training.metrics import EpochMetrics
from gzflow.training.progress import EpochEnd, Stopped
from gzflow.training.result import TrainResult, conclude
from gzflow.training.run import Run
from gzflow.training.start import new_model

logger = logging.getLogger(__name__)

_VALIDATION_BATCH = 256


def train(
    shards: ShardSet,
    config: TrainConfig,
    folder: Path,
    *,
    parent: Path | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    resume: bool = True,
    stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """The best model that a run on these shards finds; its weights are saved under `folder`/model.

    After every epoch all that is needed to go on is on disk. A run that was killed goes on at the start of the epoch
    it was in, with the result that it would have had (bit for bit on a CPU with the same number of threads); a run
    that was finished is returned as it is.

    Parameters
    ----------
    config
        With a parent, a `FineTuneConfig`.
    folder
        The run's own folder.
    parent
        Folder of the saved model to fine-tune: its encoder, under a new head that starts from the constant Dirichlet
        of the new votes.
    on_epoch
        Called after each epoch.
    resume
        False starts over, and deletes what an earlier run left in `folder`.
    stop
        Asked before each batch; once it says True, training ends with what the last finished epoch left.

    Raises
    ------
    TrainingError
        Nothing to learn from, or a parent that does not fit (all reasons at once); a folder that holds another run; a
        loss that is not finite; stopped before the first epoch was finished.
    ModelError
        The parent cannot be loaded.
    """
    config, description = begin(shards, config, Path(folder), parent=parent, resume=resume)
    if description["finished"]:
        return conclude(shards, config, Path(folder))
    finished = fit_epochs(shards, config, Path(folder), parent=parent, on_epoch=on_epoch, stop=stop)
    return conclude(shards, config, Path(folder), finished=finished, stop=stop)


def begin(
    shards: ShardSet, config: TrainConfig, folder: Path, *, parent: Path | None = None, resume: bool = True
) -> tuple[TrainConfig, dict[str, Any]]:
    """The configuration with every "auto" resolved, and the description of the run that `folder` now belongs to.

    Raises
    ------
    TrainingError
        Nothing to learn from; a parent that does not fit; a folder that holds another run.
    ModelError
        The parent cannot be loaded.
    """
    run = Run.settle(shards, config, parent)
    if config.members > 1:
        raise TrainingError(
            f"{config.members} members are asked for, and one network is trained at a time here",
            fix="`gzflow train SURVEY --members N` trains an ensemble; or train each seed by itself with members=1",
        )
    run.require_votes()
    run.require_shares()
    if config.labels is not None and config.labels > len(run.rows):
        logger.warning(
            "%d labels are asked for, there are %d training galaxies: all are used", config.labels, len(run.rows)
        )
    if lone := unidentified(run.votes, shards.tree):
        logger.warning(
            "%s: no galaxy has more than one vote, which cannot tell how far galaxies that look alike differ:"
            " fractions are learnt, their intervals will be left empty",
            ", ".join(lone),
        )
    if not resume:
        clear(folder)
    return run.config, claim(folder, run)


def fit_epochs(
    shards: ShardSet,
    config: TrainConfig,
    folder: Path,
    *,
    parent: Path | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> bool:
    """Train up to the last epoch or the end of patience, and True; or up to `stop`, and False.

    With several devices every process calls it, each for its own share of every batch; the first one writes.
    """
    run = Run.settle(shards, config, parent)
    config = run.config
    assert isinstance(config.batch_size, int)
    steps = len(EpochOrder(len(run.rows), config.batch_size, shuffle=True))
    fit = Fit(new_model(run), config, total_steps=steps * config.epochs)
    checkpoint = folder / CHECKPOINT
    resumed = checkpoint.is_file()
    if resumed:
        fit.on_load_checkpoint(torch.load(checkpoint, weights_only=True, map_location="cpu"))
        logger.info("going on after %d finished epochs in %s", len(fit.history), folder)
    if fit.out_of_patience or len(fit.history) >= config.epochs:
        return True
    with _quiet(), _interruptible(), torch.random.fork_rng():
        # Seeds are set for the weights and at each epoch; the caller's own random numbers are not to notice.
        trainer = _lightning(config, folder, EpochEnd(folder / MODEL, checkpoint, on_epoch=on_epoch, stop=stop))
        batches = _loaders(run, trainer)
        try:
            trainer.fit(fit, *batches, ckpt_path=str(checkpoint) if resumed else None, weights_only=True)
        except Stopped:
            logger.info("stopped on request after %d finished epochs", len(fit.history))
            return False
    return True


def _lightning(config: TrainConfig, folder: Path, callback: EpochEnd) -> Trainer:
    precision = config.precision
    if precision == "auto":
        bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        precision = "bf16-mixed" if bf16 else "32-true"
    return Trainer(
        accelerator="auto",
        devices=config.devices,
        # Statistics are averaged once an epoch, see `Fit`. DDP would copy the first process's at every pass, and in
        # validation, where one process may have a batch more than another, wait for ever.
        strategy=DDPStrategy(broadcast_buffers=False) if config.devices > 1 else "auto",
        precision=precision,
        max_epochs=config.epochs,
        gradient_clip_val=config.clip or None,
        callbacks=[callback],
        # Lightning's logger would close a run that is not its own; ours reports through `on_epoch`.
        logger=False,
        default_root_dir=folder,
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        benchmark=torch.cuda.is_available(),
    )


def _loaders(run: Run, trainer: Trainer) -> tuple[DataLoader[Batch], DataLoader[Batch]]:
    shards, config = run.shards, run.config
    on_cpu = trainer.strategy.root_device.type == "cpu"
    workers = _workers(config, on_cpu)
    assert isinstance(config.batch_size, int)
    assert isinstance(config.input_pixels, int)
    rank, world = trainer.global_rank, trainer.world_size
    augmentation = Augmentation(config.input_pixels, config.zoom, config.shift)
    training = Galaxies(shards, "train", augmentation, config.seed, run.rows)
    validation = Galaxies(shards, "validation")
    order = EpochOrder(len(training), config.batch_size, shuffle=True, seed=config.seed, rank=rank, world=world)
    plain = EpochOrder(len(validation), _VALIDATION_BATCH, shuffle=False, rank=rank, world=world)
    return (
        loader(training, order, workers=workers, pinned=not on_cpu),
        loader(validation, plain, workers=min(workers, 2), pinned=not on_cpu),
    )


def _workers(config: TrainConfig, on_cpu: bool) -> int:
    if config.workers != "auto":
        return config.workers
    return 0 if on_cpu else max(1, min(8, (os.cpu_count() or 1) // config.devices - 1))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C be what it is: Lightning makes an exit with code 1 of it, and is deaf to it from then on."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as end:
        if not isinstance(end.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from end


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advice from the user: it is about things that were chosen on purpose."""
    talker = logging.getLogger("lightning.pytorch")
    level = talker.level
    talker.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for advice in ("does not have many workers", "available but not used", "in eval mode", "LeafSpec"):
                warnings.filterwarnings("ignore", message=f".*{advice}.*")
            yield
    finally:
        talker.setLevel(level)
