"""Shards in, a trained model out."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from gzflow.durable import write_json
from gzflow.errors import TrainingError
from gzflow.model.encoders import starting_point
from gzflow.model.losses import constant_dirichlet, dirichlet_multinomial_nll, unidentified
from gzflow.model.morphology import Morphology
from gzflow.model.spec import ModelSpec, SurveyTree
from gzflow.shards.reader import ShardSet
from gzflow.training.augment import Augmentation
from gzflow.training.config import FineTuneConfig, TrainConfig
from gzflow.training.data import Batch, EpochOrder, Galaxies, channel_statistics, loader, training_rows
from gzflow.training.description import DESCRIPTION, read_finished
from gzflow.training.finetuning import Parent
from gzflow.training.fit import Fit
from gzflow.training.metrics import EpochMetrics, RunningNLL
from gzflow.training.progress import EpochEnd, Stopped
from gzflow.training.support import fit_support

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.ckpt"
MODEL = "model"
_VALIDATION_BATCH = 256


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Attributes
    ----------
    model
        The best epoch's, in evaluation mode, on the CPU.
    folder
        Where it is saved (``model/`` in the run's folder).
    history
        One dictionary an epoch, see `EpochMetrics`.
    best_epoch
        The epoch with the lowest validation loss.
    baseline
        Validation NLL per question of the constant Dirichlet fitted to the training votes: what a model that looks at
        no image would get. ``"loss"`` is the sum that compares with `EpochMetrics.validation_loss`.
    config
        With every "auto" resolved.
    n_train
        Galaxies trained on: all, or `TrainConfig.labels` of them.
    finished
        False when `stop` ended the run: calling `train` again goes on from there.
    """

    model: Morphology
    folder: Path
    history: list[dict[str, Any]]
    best_epoch: int
    baseline: dict[str, float]
    config: TrainConfig
    n_train: int
    finished: bool


@dataclass(frozen=True)
class _Run:
    """Everything that decides a run, settled."""

    shards: ShardSet
    config: TrainConfig
    rows: NDArray[np.int64]
    parent: Parent | None
    weights: str | None = None
    """Digest of the file that the encoder starts from."""

    @property
    def fingerprint(self) -> str:
        parts = [self.shards.fingerprint, self.config.fingerprint, *([self.weights] if self.weights else [])]
        return "-".join(parts if self.parent is None else [*parts, self.parent.fingerprint])

    @property
    def votes(self) -> NDArray[np.int32]:
        """(n_train, n_answers) votes that are learnt from."""
        return self.shards.votes("train")[self.rows]


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
    return conclude(shards, config, Path(folder), finished=finished)


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
    run = _settled(shards, config, parent)
    if config.members > 1:
        raise TrainingError(
            f"{config.members} members are asked for, and one network is trained at a time here",
            fix="`gzflow train SURVEY --members N` trains an ensemble; or train each seed by itself with members=1",
        )
    _require_votes(run)
    _require_shares(run)
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
        _clear(folder)
    return run.config, _claim(folder, run)


def conclude(shards: ShardSet, config: TrainConfig, folder: Path, *, finished: bool = True) -> TrainResult:
    """What the run in `folder` came to so far; when it has `finished`, its description says so from now on.

    Raises
    ------
    TrainingError
        No epoch was finished.
    """
    history = _history(folder)
    if not history:
        raise TrainingError(
            "training was stopped before its first epoch was finished",
            where=str(folder),
            fix="start it again and give it more time: see TrainConfig.epochs and the size of the shard set",
        )
    best = min(history, key=lambda epoch: epoch.validation_loss)
    rows = training_rows(shards, config.labels, config.seed)
    baseline = constant_nll(shards, shards.votes("train")[rows])
    description = json.loads((folder / DESCRIPTION).read_text("utf-8"))
    if finished and not description["finished"]:
        model = Morphology.load(folder / MODEL)
        model.support = fit_support(model, shards, rows)
        model.save(folder / MODEL)
        done = {"finished": True, "best_epoch": best.epoch, "baseline": baseline}
        write_json(folder / DESCRIPTION, description | done | {"history": [epoch.to_dict() for epoch in history]})
    # Read back from disk: what is returned is what was saved, and it is the best epoch, not the last.
    return TrainResult(
        model=Morphology.load(folder / MODEL),
        folder=folder / MODEL,
        history=[epoch.to_dict() for epoch in history],
        best_epoch=best.epoch,
        baseline=baseline,
        config=config,
        n_train=len(rows),
        finished=finished,
    )


def load_result(folder: Path) -> TrainResult:
    """The finished run in `folder`, wherever it was trained: nothing else is asked for.

    Raises
    ------
    TrainingError
        There is none, or it is unfinished, or its description lacks something.
    """
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_text("utf-8"))
        finished, kind = description["finished"], FineTuneConfig if description.get("parent") else TrainConfig
        config = kind(**description["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            "there is no training run",
            where=f"{path}: {error}",
            expected=f"a folder with {DESCRIPTION} and {MODEL}/, as training leaves it",
            fix="name the folder of the run, not the one above it or the model's",
        ) from error
    if not finished:
        raise TrainingError(
            f"training is not finished: {len(_history(folder))} epochs are",
            where=str(folder),
            fix="run the command again that began it, then this one",
        )
    description = read_finished(folder)
    return TrainResult(
        model=Morphology.load(folder / MODEL),
        folder=folder / MODEL,
        history=description["history"],
        best_epoch=description["best_epoch"],
        baseline=description["baseline"],
        config=config,
        n_train=description["n_train"],
        finished=True,
    )


def _history(folder: Path) -> list[EpochMetrics]:
    """All finished epochs: a finished run describes them, an unfinished one has them in its checkpoint."""
    epochs = json.loads((folder / DESCRIPTION).read_text("utf-8")).get("history")
    if epochs is None and (folder / CHECKPOINT).is_file():
        epochs = torch.load(folder / CHECKPOINT, weights_only=True, map_location="cpu", mmap=True)["history"]
    return [EpochMetrics(**epoch) for epoch in epochs or ()]


def constant_nll(shards: ShardSet, train_votes: NDArray[np.int32]) -> dict[str, float]:
    """Validation NLL per question, and as ``"loss"`` their sum, of the constant Dirichlet of the training votes."""
    votes = torch.from_numpy(shards.votes("validation"))
    constant = torch.from_numpy(constant_dirichlet(train_votes, shards.tree))
    running = RunningNLL(shards.tree, torch.device("cpu"))
    running.add(dirichlet_multinomial_nll(votes, constant.expand(len(votes), -1), shards.tree), votes)
    loss, per_question = running.result()
    return {"loss": loss} | per_question


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
    run = _settled(shards, config, parent)
    config = run.config
    assert isinstance(config.batch_size, int)
    steps = len(EpochOrder(len(run.rows), config.batch_size, shuffle=True))
    fit = Fit(_new_model(run), config, total_steps=steps * config.epochs)
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


def _settled(shards: ShardSet, config: TrainConfig, parent: Path | None) -> _Run:
    """Settling twice changes nothing: the processes of a run are given the settled configuration."""
    origin = None if parent is None else Parent.open(parent)
    if origin is not None:
        config = origin.settle(config, shards.recipe)
    elif isinstance(config, FineTuneConfig):
        raise TrainingError(
            "there is no parent to fine-tune",
            expected="the folder of a saved model",
            fix="pass parent=, or a TrainConfig to train from scratch",
        )
    config = config.resolve(shards.n("train"), shards.recipe)
    rows = training_rows(shards, config.labels, config.seed)
    return _Run(shards, config, rows, origin, _digest(config.encoder_weights) if config.encoder_weights else None)


def _digest(path: str) -> str:
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
    except OSError as error:
        raise TrainingError(
            f"the encoder's weights cannot be read: {error}",
            where=path,
            expected="a safetensors file",
            fix="correct encoder_weights, or leave it out to start from random weights",
        ) from error


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


def _loaders(run: _Run, trainer: Trainer) -> tuple[DataLoader[Batch], DataLoader[Batch]]:
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


def _new_model(run: _Run) -> Morphology:
    """Random weights by the seed, or the parent's; a head that starts from the constant Dirichlet of its votes."""
    shards, config, parent = run.shards, run.config, run.parent
    assert isinstance(config.input_pixels, int)
    start = starting_point(config.encoder, Path(config.encoder_weights) if config.encoder_weights else None)
    arguments = parent.model.spec.encoder_arguments if parent is not None else start.arguments
    if isinstance(config, FineTuneConfig) and config.normalisation == "parent":
        assert parent is not None
        mean, std = parent.model.spec.mean, parent.model.spec.std
    else:
        mean, std = channel_statistics(shards, run.rows, grey=bool(config.grey))
    notes = {} if parent is None else parent.notes(shards.recipe)
    if config.labels is not None:
        notes["labels"] = f"{config.labels} of {shards.n('train')} training galaxies"
    spec = ModelSpec(
        encoder=start.encoder,
        encoder_arguments=dict(arguments),
        stem_stride=config.stem_stride,
        grey=bool(config.grey),
        likelihood=config.likelihood,
        components=config.components,
        dropout=config.dropout,
        samples=config.samples,
        concentrations=config.concentrations,
        trees=_trees(shards),
        recipe=shards.recipe,
        input_pixels=config.input_pixels,
        mean=mean,
        std=std,
        unidentified=unidentified(run.votes, shards.tree),
        training_fingerprint=run.fingerprint,
        training=config.model_dump(mode="json"),
        notes=notes,
    )
    low, high = config.concentrations
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Morphology(spec, start.weights)
        model.head.start_from(constant_dirichlet(run.votes, shards.tree, (low + 0.05, high - 1)))
    if parent is not None:
        model.encoder.load_state_dict(parent.model.encoder.state_dict())
    return model


def _trees(shards: ShardSet) -> tuple[SurveyTree, ...]:
    """Of each survey; where there are several, with its recipe."""
    recipes = [part.recipe if len(shards.parts) > 1 else None for part in shards.parts]
    return tuple(
        SurveyTree(survey=part.survey, tree=part.tree.to_dict(), recipe=recipe)
        for part, recipe in zip(shards.parts, recipes, strict=True)
    )


def _require_votes(run: _Run) -> None:
    problems = []
    for split, votes in (("train", run.votes), ("validation", run.shards.votes("validation"))):
        if not len(votes):
            problems.append(f"the {split} split has no galaxy")
        elif not np.any(votes > 0):
            problems.append(f"the {split} split has {len(votes)} galaxies, and nobody voted on any of them")
    if problems:
        raise TrainingError(
            "there is nothing to learn from",
            where=str(run.shards.folder),
            problems=problems,
            expected="galaxies with votes in the train and the validation split",
            fix="ingest more galaxies, or check the survey's vote columns, and make the shards again",
        )


def _require_shares(run: _Run) -> None:
    """Every process needs a galaxy to validate on and one of every batch, and batch normalisation two."""
    n_train, n_validation, config = len(run.rows), run.shards.n("validation"), run.config
    assert isinstance(config.batch_size, int)
    if config.devices == 1:
        return
    smallest = EpochOrder(n_train, config.batch_size, shuffle=True).smallest
    problems = []
    if smallest < 2 * config.devices:
        problems.append(
            f"{n_train} training galaxies, batch_size {config.batch_size}: the smallest batch has {smallest}"
        )
    if n_validation < config.devices:
        problems.append(f"{n_validation} validation galaxies")
    if problems:
        raise TrainingError(
            f"batches cannot be divided between {config.devices} devices",
            where=str(run.shards.folder),
            problems=problems,
            expected=f"{2 * config.devices} or more galaxies a training batch, two a device, and a validation galaxy"
            " a device",
            fix="use fewer devices, a larger batch_size, or more galaxies",
        )


def _claim(folder: Path, run: _Run) -> dict[str, Any]:
    """The folder's description, written if there is none; refused if it is another run's."""
    shards, config, parent = run.shards, run.config, run.parent
    path = folder / DESCRIPTION
    mine: dict[str, Any] = {
        "fingerprint": run.fingerprint,
        "shards": {"folder": str(shards.folder), "fingerprint": shards.fingerprint, "survey": shards.survey},
        "parent": None if parent is None else {"folder": str(parent.folder), "fingerprint": parent.fingerprint},
        "n_train": len(run.rows),
        "config": config.model_dump(mode="json"),
        "versions": {"torch": torch.__version__, "lightning": lightning.__version__},
        "finished": False,
    }
    if not path.is_file():
        write_json(path, mine)
        return mine
    theirs: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if theirs.get("fingerprint") != mine["fingerprint"]:
        settings = theirs.get("config", {})
        differences = [
            f"{key}: {settings.get(key)!r} there, {value!r} now"
            for key, value in mine["config"].items()
            if settings.get(key) != value
        ]
        if theirs.get("shards", {}).get("fingerprint") != shards.fingerprint:
            differences.append("the shards are others, or have changed")
        if (theirs.get("parent") or {}).get("fingerprint") != (mine["parent"] or {}).get("fingerprint"):
            differences.append("the parent is another model, or none")
        raise TrainingError(
            "the folder holds a training run of another kind",
            where=str(folder),
            problems=differences,
            fix="train in a new folder, or pass resume=False to delete that run",
        )
    return theirs


def _clear(folder: Path) -> None:
    for name in (CHECKPOINT, DESCRIPTION):
        (folder / name).unlink(missing_ok=True)
    if (folder / MODEL).is_dir():
        shutil.rmtree(folder / MODEL)


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
