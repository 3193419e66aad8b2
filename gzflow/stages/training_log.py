"""Numbers and pictures of a training run for MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gzflow.evaluation.figures import confusion_figure, figure_png, reliability, training_curves, transforms_figure
from gzflow.evaluation.metrics import Evaluation
from gzflow.posterior import fractions
from gzflow.shards.reader import ShardSet
from gzflow.stages.leakage import Leakage
from gzflow.stages.scoring import TEST
from gzflow.stages.train_chunk import Origin
from gzflow.tracking.names import metric_key
from gzflow.tracking.run import TrackedRun
from gzflow.training.metrics import EpochMetrics
from gzflow.training.result import TrainResult
from gzflow.training.survey_share import SurveyShare, survey_shares
from gzflow.tree import DecisionTree


def log_epochs(run: TrackedRun, result: TrainResult, shards: ShardSet | None = None) -> None:
    """Log the epochs that are not: each is on disk before it is logged, and a process may be killed in between."""
    logged = run.logged_steps("train_loss")
    shares = survey_shares(shards, result.config) if shards else ()
    for epoch in result.history:
        if epoch["epoch"] not in logged:
            run.log_metrics(epoch_metrics(EpochMetrics(**epoch), shares), step=epoch["epoch"])


def epoch_metrics(epoch: EpochMetrics, shares: Sequence[SurveyShare]) -> dict[str, float]:
    """An epoch's numbers by name; of a joint training with each survey's own loss."""
    own = {share.shards.survey: share.epoch(epoch) for share in shares}
    losses = {f"train_loss/{survey}": metrics.train_loss for survey, metrics in own.items()}
    return epoch.flat() | losses | {f"validation_loss/{survey}": each.validation_loss for survey, each in own.items()}


def log_result(
    run: TrackedRun,
    result: TrainResult,
    evaluation: Evaluation | None,
    origin: Origin,
    leakage: Leakage,
) -> None:
    """Metrics under the same names in every run, with those that a plain training leaves at 0."""
    best = result.history[result.best_epoch]
    run.log_results(
        {
            "best/epoch": result.best_epoch,
            "best/val-loss": best["validation_loss"],
            "head/val-loss": result.refit.loss if result.refit else float("nan"),
            "galaxies/train": result.n_train,
            "galaxies/validation": origin.n_galaxies["validation"],
            "galaxies/test": origin.n_galaxies["test"],
        }
        | leakage.metrics()
        | {metric_key(f"baseline/val-{name}"): value for name, value in result.baseline.items()}
        | (evaluation.metrics() if evaluation else {}),
        step=result.best_epoch,
    )
    if leakage.unknown:
        run.set_tags({"gzflow.guard_unknown": "; ".join(leakage.unknown)})
    run.log_json("history.json", result.history)


def log_figures(
    run: TrackedRun, result: TrainResult, evaluation: Evaluation | None, tree: DecisionTree, *, whole: bool
) -> None:
    """Pictures of the training and its scores; those of every question only for a model that may be used."""
    refit = result.refit.loss if result.refit else None
    figure = curves(result.history, result.baseline, result.best_epoch, refit)
    run.log_bytes("figures/training-curves.png", figure_png(figure))
    if evaluation is None:
        return
    run.log_bytes("figures/transforms.png", figure_png(transforms_figure(evaluation.calibrations)))
    for matrix in evaluation.confusions if whole else ():
        if matrix.n:
            run.log_bytes(f"figures/confusion/{matrix.question}.png", figure_png(confusion_figure(matrix)))
    with np.load(result.folder.parent / TEST, allow_pickle=False) as stored:
        means = fractions(stored["concentrations"], tree)
        picture = reliability(means, stored["votes"], tree, floor=evaluation.floor)
        run.log_bytes("figures/reliability.png", figure_png(picture))


def described_curves(stored: Mapping[str, Any]) -> Figure:
    """The training curves of a finished run, from its description."""
    refit = stored.get("refit")
    return curves(stored["history"], stored["baseline"], stored["best_epoch"], refit["loss"] if refit else None)


def curves(
    history: Sequence[Mapping[str, Any]], baseline: Mapping[str, float], best_epoch: int, refit: float | None
) -> Figure:
    """The training curves of a run: the trainer's history, its constant baseline, and the loss of the final head."""
    points = [
        {"epoch": epoch["epoch"], "train/loss": epoch["train_loss"], "val/loss": epoch["validation_loss"]}
        for epoch in history
    ]
    return training_curves(points, baseline=baseline["loss"], best_epoch=best_epoch, refit=refit)
