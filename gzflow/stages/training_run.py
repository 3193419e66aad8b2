"""One training run from its first tag to its scores: what `train` and `finetune` have in common."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from matplotlib.figure import Figure

from gzflow.durable import write_json
from gzflow.errors import TrackingError, TrainingError
from gzflow.evaluation.figures import confusion_figure, figure_png, reliability, training_curves, transforms_figure
from gzflow.evaluation.metrics import Evaluation
from gzflow.lock import exclusive
from gzflow.posterior import fractions
from gzflow.recipe import ImageRecipe
from gzflow.settings import Settings
from gzflow.shards.header import SPLITS, Split
from gzflow.shards.joint import open_shards
from gzflow.shards.reader import ShardSet
from gzflow.stages.leakage import GALAXIES, Leakage, ancestry, find_leaks, write_galaxies
from gzflow.stages.run_file import folder_run
from gzflow.stages.scoring import SCORES, TEST, score_test
from gzflow.tracking.names import metric_key
from gzflow.tracking.registry import ModelRef, Registry
from gzflow.tracking.run import PARENT_TAG, Lineage, TrackedRun, run_exists, run_page
from gzflow.training.config import FineTuneConfig, TrainConfig
from gzflow.training.launch import launch
from gzflow.training.metrics import EpochMetrics
from gzflow.training.result import TrainResult, load_result
from gzflow.training.survey_share import SurveyShare, survey_shares
from gzflow.tree import DecisionTree

logger = logging.getLogger(__name__)

RESULT = "result.json"
"""The summary; written last, it says that the run is done."""
CHANGEABLE = {"workers"}
"""Options that an interrupted run may go on with otherwise: they decide no result, and parameters cannot change."""
Kind = Literal["trained", "finetuned", "scratch", "joint", "ensemble", "member"]


@dataclass(frozen=True)
class TrainChunk:
    """One training run; its folder is named by what decides the result, so that the same run is found again.

    Attributes
    ----------
    survey
        As the user named it.
    name
        Of the MLflow run.
    kind
        "scratch" is what stands beside a fine-tune for comparison, "member" a network of an "ensemble".
    parent
        Whose training galaxies the test galaxies must keep away from; with a `FineTuneConfig` also the model that is
        fine-tuned.
    register
        Whether the model becomes a version of the survey's registered model.
    joint
        Folder of the joint set, where this is one survey's share of a joint training: `folder` holds it, finished.
    """

    survey: str
    shards: str
    folder: str
    name: str
    config: TrainConfig
    n_galaxies: Mapping[Split, int]
    kind: Kind = "trained"
    parent: ModelRef | None = None
    register: bool = True
    joint: str | None = None


@dataclass(frozen=True)
class Origin:
    """What a training learnt from; its shards may lie on another machine.

    Attributes
    ----------
    fingerprint
        Of the shard set.
    folder
        Where it lay.
    """

    survey: str
    tree: DecisionTree
    recipe: ImageRecipe
    fingerprint: str
    folder: str
    n_galaxies: Mapping[Split, int]

    @classmethod
    def of(cls, shards: ShardSet) -> Self:
        """That of shards which are here."""
        sizes = {split: shards.n(split) for split in SPLITS}
        return cls(shards.survey, shards.tree, shards.recipe, shards.fingerprint, str(shards.folder), sizes)


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """A trained and scored model.

    Attributes
    ----------
    folder
        The run's: ``model/``, ``training.json``, ``result.json``, ``test.npz`` with the test galaxies' concentrations
        and votes, ``scores.parquet`` with their likelihoods.
    labels
        Training galaxies used.
    seed
        Of the training; of an ensemble, its first member's.
    members
        Networks of an ensemble. Its epochs are means over them.
    model, version, alias
        Of the registered model; empty where it was not registered, and where it has no alias any more.
    parent
        URI of the model that was fine-tuned; None for a training from scratch.
    url
        The MLflow run's page, where a server shows one.
    parent_run_id
        The MLflow run that this one belongs to.
    n_test, n_leaked, n_overlapping
        Test galaxies scored; left out because a galaxy that the model or an ancestor was trained on lies within
        `LEAK_ARCSEC`; scored although their stamp overlaps one that was seen.
    n_leaked_by_parent
        Of those left out, how many an ancestor has seen.
    guard_unknown
        What the guard against seen test galaxies could not look at.
    loss, constant, majority
        Test NLL in nats a galaxy of the model, of the constant Dirichlet and of the majority answer; NaN without a
        test galaxy that has votes.
    """

    survey: str
    name: str
    kind: Kind
    folder: Path
    labels: int
    seed: int
    members: int = 1
    model: str = ""
    version: str = ""
    alias: str = ""
    parent: str | None = None
    run_id: str
    url: str | None
    parent_run_id: str | None = None
    best_epoch: int
    n_epochs: int
    n_test: int
    n_leaked: int
    n_overlapping: int
    n_leaked_by_parent: int = 0
    guard_unknown: tuple[str, ...] = ()
    loss: float
    constant: float
    majority: float
    reused: bool = False

    def sentence(self) -> str:
        """One line for people, with the baselines."""
        scores = score_words(self.n_test, self.loss, self.constant, self.majority)
        if self.guard_unknown:
            scores += "; the parent may have seen some of them"
        who = f"{self.model} version {self.version} ({self.alias or 'no alias'})" if self.model else self.name
        kind = f", an ensemble of {self.members}" if self.members > 1 else ""
        return f"{who}{kind}: {scores}"


def score_words(n_test: int, loss: float, constant: float, majority: float) -> str:
    """A score with its baselines and its sample."""
    if not n_test:
        return "no test galaxy has votes, so it has no score"
    return (
        f"test NLL {loss:.3f} (constant Dirichlet {constant:.3f}, majority answer {majority:.3f}; {n_test:,} galaxies)"
    )


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


def curves(history: Sequence[Mapping[str, Any]], baseline: Mapping[str, float], best_epoch: int) -> Figure:
    """The training curves of a run, from the trainer's history and its constant baseline."""
    points = [
        {"epoch": epoch["epoch"], "train/loss": epoch["train_loss"], "val/loss": epoch["validation_loss"]}
        for epoch in history
    ]
    return training_curves(points, baseline=baseline["loss"], best_epoch=best_epoch)


def read_summary(folder: Path, settings: Settings, parent_run_id: str | None = None) -> TrainSummary | None:
    """Summary of a finished run, with the alias that its model has now.

    None if the run was not finished, or if the store lacks what it speaks of. A training below one parent run serves
    others as well, as long as the store has that parent; one that stands by itself serves an ensemble.
    """
    if not (folder / RESULT).is_file():
        return None
    stored = json.loads((folder / RESULT).read_text("utf-8"))
    changed = {"folder": folder, "guard_unknown": tuple(stored["guard_unknown"]), "reused": True}
    summary = TrainSummary(**stored | changed)
    above = summary.parent_run_id
    if (above is not None and parent_run_id is None) or not run_exists(settings, summary.run_id):
        return None
    if above is not None and above != parent_run_id and not run_exists(settings, above):
        return None
    # The same store may be at another address now.
    summary = replace(summary, url=run_page(settings, summary.run_id))
    if not summary.model:
        return summary
    registry = Registry(settings)
    try:
        registry.resolve(f"models:/{summary.model}/{summary.version}")
    except TrackingError:
        return None
    return replace(summary, alias=_alias(registry, summary.survey, summary.version))


def _alias(registry: Registry, survey: str, version: str) -> str:
    """The alias that a version has now, or nothing."""
    aliases: tuple[Literal["champion", "challenger"], ...] = ("champion", "challenger")
    return next((alias for alias in aliases if registry.alias(survey, alias) == version), "")


def lineage_of(chunk: TrainChunk, origin: Origin, flow_run: tuple[str, str] | None = None) -> Lineage:
    """What the run was made from, for its tags."""
    return Lineage(
        tree_fingerprint=origin.tree.fingerprint,
        shard_fingerprint=origin.fingerprint,
        parent_model=start.uri if (start := _start(chunk)) else None,
        flow_run_id=flow_run[0] if flow_run else None,
        flow_run_url=flow_run[1] if flow_run else None,
    )


def _start(chunk: TrainChunk) -> ModelRef | None:
    """The model that training starts from, if it is not from scratch."""
    return chunk.parent if isinstance(chunk.config, FineTuneConfig) else None


def describe(run: TrackedRun, chunk: TrainChunk, origin: Origin) -> None:
    """Log the parameters and the data sets."""
    resolved = chunk.config.resolve(origin.n_galaxies["train"], origin.recipe)
    run.log_params(
        resolved.model_dump(mode="json", exclude=CHANGEABLE)
        | {"recipe": origin.recipe.model_dump(mode="json")}
        | {f"galaxies.{split}": n for split, n in origin.n_galaxies.items()}
    )
    for split in SPLITS:
        run.log_dataset(
            f"{origin.survey}-{origin.recipe.pixels}px-{split}",
            origin.fingerprint,
            origin.folder,
            context=split,
            profile={"galaxies": origin.n_galaxies[split]},
        )


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
        run.log_metrics(_flat(epoch, shares), step=epoch.epoch)
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

    start = _start(chunk)
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


def _flat(epoch: EpochMetrics, shares: Sequence[SurveyShare]) -> dict[str, float]:
    """An epoch's numbers by name; of a joint training with each survey's own loss."""
    own = {share.shards.survey: share.epoch(epoch) for share in shares}
    losses = {f"train_loss/{survey}": metrics.train_loss for survey, metrics in own.items()}
    return epoch.flat() | losses | {f"validation_loss/{survey}": each.validation_loss for survey, each in own.items()}


def log_epochs(run: TrackedRun, result: TrainResult, shards: ShardSet | None = None) -> None:
    """Log the epochs that are not: each is on disk before it is logged, and a process may be killed in between."""
    logged = run.logged_steps("train_loss")
    shares = survey_shares(shards, result.config) if shards else ()
    for epoch in result.history:
        if epoch["epoch"] not in logged:
            run.log_metrics(_flat(EpochMetrics(**epoch), shares), step=epoch["epoch"])


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
    folder, settings, start = Path(chunk.folder), run.settings, _start(chunk)
    _log_result(run, result, evaluation, origin, leakage)
    # A joint training's questions are looked at survey by survey.
    whole = chunk.register and len(result.model.spec.surveys) == 1
    _log_figures(run, result, evaluation, origin.tree, whole=whole)
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
        alias = _alias(Registry(settings), origin.survey, version)
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


def _log_result(
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


def _log_figures(
    run: TrackedRun, result: TrainResult, evaluation: Evaluation | None, tree: DecisionTree, *, whole: bool
) -> None:
    """Pictures of the training and its scores; those of every question only for a model that may be used."""
    run.log_bytes("figures/training-curves.png", figure_png(curves(result.history, result.baseline, result.best_epoch)))
    if evaluation is None:
        return
    run.log_bytes("figures/transforms.png", figure_png(transforms_figure(evaluation.calibrations)))
    for matrix in evaluation.confusions if whole else ():
        if matrix.n:
            run.log_bytes(f"figures/confusion/{matrix.question}.png", figure_png(confusion_figure(matrix)))
    with np.load(result.folder.parent / TEST, allow_pickle=False) as stored:
        means = fractions(stored["concentrations"], tree)
        run.log_bytes("figures/reliability.png", figure_png(reliability(means, stored["votes"], tree)))
