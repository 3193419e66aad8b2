"""What a training run came to."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gzflow.durable import write_json
from gzflow.errors import TrainingError
from gzflow.model.losses import constant_dirichlet, dirichlet_multinomial_nll
from gzflow.model.morphology import Morphology
from gzflow.shards.reader import ShardSet
from gzflow.training.config import BEFORE, FineTuneConfig, TrainConfig
from gzflow.training.data import training_rows
from gzflow.training.description import DESCRIPTION, read_finished
from gzflow.training.folder import MODEL, best_model, finished_epochs, forget_aside, set_aside
from gzflow.training.metrics import RunningNLL
from gzflow.training.progress import Stopped
from gzflow.training.refit import Refit, refit_head
from gzflow.training.support import fit_support

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Attributes
    ----------
    model
        The best epoch's, with the head that `refit` tells of, in evaluation mode, on the CPU.
    folder
        Where it is saved: in the run's folder, ``model/`` when that is finished.
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
    refit
        Of the head, after the best epoch; None where it was not done or did not concern this survey alone.
    """

    model: Morphology
    folder: Path
    history: list[dict[str, Any]]
    best_epoch: int
    baseline: dict[str, float]
    config: TrainConfig
    n_train: int
    finished: bool
    refit: Refit | None = None


def conclude(
    shards: ShardSet,
    config: TrainConfig,
    folder: Path,
    *,
    finished: bool = True,
    stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """What the run in `folder` came to so far; when its epochs have `finished`, the model is completed.

    The head is trained once more and the support added, from the best epoch's model, which is set aside until the
    description says that the run is finished: killed at any moment, the next call does it again.

    Parameters
    ----------
    stop
        Asked now and then; once it says True, the run is left as its last epoch left it.

    Raises
    ------
    TrainingError
        No epoch was finished.
    """
    history = finished_epochs(folder)
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
    refit = description.get("refit")
    place = folder / MODEL
    if finished and not description["finished"]:
        model = Morphology.load(set_aside(folder))
        try:
            refit = asdict(refit_head(model, shards, rows, config, stop=stop)) if config.head_epochs else None
        except Stopped:
            logger.info("stopped on request after the last epoch")
            finished, place = False, best_model(folder)
            model = Morphology.load(place)
        else:
            model.support = fit_support(model, shards, rows)
            model.save(place)
            done = {"finished": True, "best_epoch": best.epoch, "baseline": baseline, "refit": refit}
            write_json(folder / DESCRIPTION, description | done | {"history": [epoch.to_dict() for epoch in history]})
            forget_aside(folder)
    else:
        # From disk: what is returned is what was saved, and it is the best epoch, not the last.
        place = place if finished else best_model(folder)
        model = Morphology.load(place)
    return TrainResult(
        model=model,
        folder=place,
        history=[epoch.to_dict() for epoch in history],
        best_epoch=best.epoch,
        baseline=baseline,
        config=config,
        n_train=len(rows),
        finished=finished,
        refit=Refit(**refit) if refit else None,
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
        config = kind(**(BEFORE | description["config"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            "there is no training run",
            where=f"{path}: {error}",
            expected=f"a folder with {DESCRIPTION} and {MODEL}/, as training leaves it",
            fix="name the folder of the run, not the one above it or the model's",
        ) from error
    if not finished:
        raise TrainingError(
            f"training is not finished: {len(finished_epochs(folder))} epochs are",
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
        refit=Refit(**description["refit"]) if description.get("refit") else None,
    )


def constant_nll(shards: ShardSet, train_votes: NDArray[np.int32]) -> dict[str, float]:
    """Validation NLL per question, and as ``"loss"`` their sum, of the constant Dirichlet of the training votes."""
    votes = torch.from_numpy(shards.votes("validation"))
    constant = torch.from_numpy(constant_dirichlet(train_votes, shards.tree))
    running = RunningNLL(shards.tree, torch.device("cpu"))
    running.add(dirichlet_multinomial_nll(votes, constant.expand(len(votes), -1), shards.tree), votes)
    loss, per_question = running.result()
    return {"loss": loss} | per_question
