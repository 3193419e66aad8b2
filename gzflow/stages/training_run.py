"""One training run from its first tag to its scores: what `train` and `finetune` have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from gzflow.durable import write_json
from gzflow.errors import TrainingError
from gzflow.evaluation.metrics import Evaluation
from gzflow.lock import exclusive
from gzflow.settings import Settings
from gzflow.shards.joint import open_shards
from gzflow.shards.reader import ShardSet
from gzflow.stages.leakage import GALAXIES, Leakage, ancestry, find_leaks, write_galaxies
from gzflow.stages.run_file import folder_run
from gzflow.stages.scoring import SCORES, score_test
from gzflow.stages.train_chunk import Origin, TrainChunk, describe, lineage_of, start_of
from gzflow.stages.train_summary import RESULT, TrainSummary, present_alias, read_summary, score_words
from gzflow.stages.training_log import epoch_metrics, log_epochs, log_figures, log_result
from gzflow.tracking.registry import Registry
from gzflow.tracking.run import PARENT_TAG, TrackedRun
from gzflow.training.launch import launch
from gzflow.training.metrics import EpochMetrics
from gzflow.training.result import TrainResult, load_result
from gzflow.training.survey_share import survey_shares

logger = logging.getLogger(__name__)


def run_training(
    chunk: TrainChunk,
    settings: Settings,
    *,
    parent_run_id: str | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    stop: Callable[[], bool] | None = None,
    flow_run: tuple[str, str] | None = None,
) -> TrainSummary:
    """Train, or go on with the run that was interrupted, or return the one that was finished.

    Parameters
    ----------
    parent_run_id
        The MLflow run that this one belongs to.
    on_epoch
        Called after each epoch, after its metrics were logged.
    stop
        Asked before each batch; once it says True, training ends with the last finished epoch.
    flow_run
        Id and page of the orchestrator's run, for the tags.

    Raises
    ------
    TrainingError
        Training cannot start, has diverged, or was stopped.
    Busy
        Another process is at it.
    """
    folder = Path(chunk.folder)
    with exclusive(folder, f"training {chunk.name} for {chunk.survey}"):
        if (known := read_summary(folder, settings, parent_run_id)) is not None:
            logger.info("%s: this model was trained before: %s", known.survey, known.sentence())
            return known
        shards = open_shards(Path(chunk.shards))
        origin = Origin.of(shards)
        with folder_run(
            folder,
            settings,
            shards.survey,
            name=chunk.name,
            lineage=lineage_of(chunk, origin, flow_run),
            tags={"gzflow.kind": chunk.kind},
            parent_run_id=parent_run_id,
        ) as run:
            describe(run, chunk, origin)
            result = load_result(folder) if chunk.joint else _train(chunk, shards, run, on_epoch, stop)
            log_epochs(run, result, shards)
            evaluation, leakage = score(chunk, shards, run, result)
            summary = conclude(chunk, origin, run, result, evaluation, leakage, parent_run_id)
        write_json(folder / RESULT, asdict(summary))
    logger.info("%s: %s", summary.survey, summary.sentence())
    return summary


def _train(
    chunk: TrainChunk,
    shards: ShardSet,
    run: TrackedRun,
    on_epoch: Callable[[EpochMetrics], None] | None,
    stop: Callable[[], bool] | None,
) -> TrainResult:
    """The trained model; its epochs are logged as they end."""
    shares = survey_shares(shards, chunk.config)

    def after_epoch(epoch: EpochMetrics) -> None:
        run.log_metrics(epoch_metrics(epoch, shares), step=epoch.epoch)
        logger.info(
            "%s: %sepoch %d: train %.3f, validation %.3f%s, %.0f s",
            shards.survey,
            "" if chunk.kind == "trained" else f"{chunk.name}: ",
            epoch.epoch + 1,
            epoch.train_loss,
            epoch.validation_loss,
            " (best)" if epoch.best else "",
            epoch.seconds,
        )
        if on_epoch is not None:
            on_epoch(epoch)

    start = start_of(chunk)
    result = launch(
        shards,
        chunk.config,
        Path(chunk.folder),
        parent=start.folder if start else None,
        on_epoch=after_epoch,
        stop=stop,
    )
    if not result.finished:
        raise TrainingError(
            f"training was stopped after {len(result.history)} epochs",
            where=chunk.folder,
            fix="run the same command again: it goes on from there",
        )
    logger.info(
        "%s: best epoch %d of %d; the constant Dirichlet scores %.3f on the same validation galaxies",
        shards.survey,
        result.best_epoch + 1,
        len(result.history),
        result.baseline["loss"],
    )
    return result


def score(
    chunk: TrainChunk, shards: ShardSet, run: TrackedRun, result: TrainResult
) -> tuple[Evaluation | None, Leakage]:
    """Scores on the test galaxies that nothing gives away; what is known of every galaxy is kept in the folder."""
    folder = Path(chunk.folder)
    ancestors = run.patience.ask("read what ancestors were trained on", lambda: ancestry(chunk.parent, run.settings))
    learnt = open_shards(Path(chunk.joint)) if chunk.joint else None
    leakage = find_leaks(shards, ancestors, learnt)
    evaluation = score_test(result, shards, folder, leakage.ids)
    write_galaxies(shards, folder / GALAXIES, learnt)
    return evaluation, leakage


def conclude(
    chunk: TrainChunk,
    origin: Origin,
    run: TrackedRun,
    result: TrainResult,
    evaluation: Evaluation | None,
    leakage: Leakage,
    parent_run_id: str | None = None,
) -> TrainSummary:
    """Log what was scored and, if the chunk says so, register the model."""
    folder, settings, start = Path(chunk.folder), run.settings, start_of(chunk)
    log_result(run, result, evaluation, origin, leakage)
    # A joint training's questions are looked at survey by survey.
    whole = chunk.register and len(result.model.spec.surveys) == 1
    log_figures(run, result, evaluation, origin.tree, whole=whole)
    for name in (GALAXIES, SCORES):
        run.log_file(folder / name)
    model = version = alias = ""
    total = evaluation.total if evaluation else None
    if chunk.register:
        tags = {PARENT_TAG: start.uri} if start else None
        words = score_words(*((total.n, total.nll, total.nll_constant, total.nll_majority) if total else (0, 0, 0, 0)))
        description = f"{words}; {chunk.name}" + (f"; fine-tuned from {start.uri}" if start else "")
        ref = run.patience.ask(
            "register the model",
            lambda: Registry(settings).register(result.folder, run, tags=tags, description=description),
        )
        model, version = ref.name, str(ref.version)
        alias = present_alias(Registry(settings), origin.survey, version)
    return TrainSummary(
        survey=origin.survey,
        name=chunk.name,
        kind=chunk.kind,
        folder=folder,
        labels=result.n_train,
        seed=result.config.seed,
        members=result.config.members,
        model=model,
        version=version,
        alias=alias,
        parent=start.uri if start else None,
        run_id=run.id,
        url=run.url,
        parent_run_id=parent_run_id,
        best_epoch=result.best_epoch,
        n_epochs=len(result.history),
        n_test=total.n if total else 0,
        n_leaked=len(leakage.ids),
        n_overlapping=leakage.n_overlapping,
        n_leaked_by_parent=leakage.n_by_parent,
        guard_unknown=leakage.unknown,
        loss=total.nll if total else float("nan"),
        constant=total.nll_constant if total else float("nan"),
        majority=total.nll_majority if total else float("nan"),
    )
