"""Ensemble: networks of one configuration and several seeds, each a training of its own, registered as one model."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gzflow.durable import write_json
from gzflow.errors import SettingsError
from gzflow.evaluation.passes import PassComparison, compare_passes
from gzflow.lock import exclusive
from gzflow.model.ensemble import join, without_dropout
from gzflow.model.morphology import Morphology
from gzflow.prediction.predict import Predictor
from gzflow.settings import Settings
from gzflow.shards.reader import ShardSet
from gzflow.stages import train
from gzflow.stages.run_file import folder_run
from gzflow.stages.scoring import TEST
from gzflow.stages.train_chunk import Origin, TrainChunk, describe, lineage_of
from gzflow.stages.train_summary import RESULT, TrainSummary, read_summary
from gzflow.stages.training_log import log_epochs
from gzflow.stages.training_run import conclude, run_training, score
from gzflow.tracking.run import TrackedRun
from gzflow.training.data import training_rows
from gzflow.training.description import DESCRIPTION
from gzflow.training.folder import MODEL
from gzflow.training.metrics import EpochMetrics
from gzflow.training.result import TrainResult, load_result
from gzflow.training.support import fit_support

logger = logging.getLogger(__name__)

COMPARISON = "members.json"
"""Rows of the table that sets single networks beside the ensemble."""
_MEANING = {
    "one pass": "one pass, no dropout",
    "dropout": "dropout samples",
    "passes": "one pass of each member",
    "ensemble": "the ensemble",
}


@dataclass(frozen=True)
class EnsemblePlan:
    """The trainings of an ensemble.

    Attributes
    ----------
    whole
        The ensemble itself, which is scored and registered.
    members
        One training a seed. Each is the run that ``gzflow train --seed`` would make, in the same folder: what was
        trained before is found again.
    """

    whole: TrainChunk
    members: tuple[TrainChunk, ...]


def plan(chunk: TrainChunk, settings: Settings, *, pixels: int | None) -> EnsemblePlan:
    """The trainings behind a training with several members.

    Raises
    ------
    SettingsError
        Labels are limited: they follow the seed, and members would learn from different galaxies.
    """
    config = chunk.config
    if config.labels is not None and config.labels < chunk.n_galaxies["train"]:
        raise SettingsError(
            f"the {config.members} members of an ensemble would learn from different galaxies",
            problems=[f"labels is {config.labels}: which ones, follows from each member's seed"],
            expected="all labels",
            fix="leave labels out, or make shards of the galaxies to learn from",
        )
    alone = [config.model_copy(update={"members": 1, "seed": config.seed + i}) for i in range(config.members)]
    members = [train.plan(chunk.survey, settings, pixels=pixels, config=one) for one in alone]
    return EnsemblePlan(
        whole=replace(chunk, kind="ensemble", name=f"ensemble-of-{config.members}-{chunk.name}"),
        members=tuple(replace(one, kind="member", register=False) for one in members),
    )


def run(
    plan_: EnsemblePlan,
    settings: Settings,
    *,
    each: Callable[[TrainChunk, str], TrainSummary] | None = None,
    flow_run: tuple[str, str] | None = None,
) -> TrainSummary:
    """Train all members, each as an MLflow run below the ensemble's own; join, score, compare and register them.

    Parameters
    ----------
    each
        Trains one member, given its chunk and the id of the ensemble's run; by default `run_training`.
    flow_run
        Id and page of the orchestrator's run, for the tags.

    Raises
    ------
    Busy
        Another process is at it.
    """
    chunk = plan_.whole
    folder = Path(chunk.folder)
    with exclusive(folder, f"training {chunk.name} for {chunk.survey}"):
        if (known := read_summary(folder, settings)) is not None:
            logger.info("%s: this ensemble was trained before: %s", known.survey, known.sentence())
            return known
        shards = ShardSet.open(Path(chunk.shards))
        origin = Origin.of(shards)
        with folder_run(
            folder,
            settings,
            shards.survey,
            name=chunk.name,
            lineage=lineage_of(chunk, origin, flow_run),
            tags={"gzflow.kind": chunk.kind},
        ) as tracked:
            describe(tracked, chunk, origin)
            train_one = each or (lambda one, above: run_training(one, settings, parent_run_id=above))
            trained = [train_one(one, tracked.id) for one in plan_.members]
            result = _joined(chunk, origin, shards, [load_result(one.folder) for one in trained])
            log_epochs(tracked, result)
            evaluation, leakage = score(chunk, shards, tracked, result)
            if evaluation is not None:
                _log_comparison(tracked, _comparison(result, shards, folder, trained), trained, folder)
            summary = conclude(chunk, origin, tracked, result, evaluation, leakage)
        write_json(folder / RESULT, asdict(summary))
    logger.info("%s: %s", summary.survey, summary.sentence())
    return summary


def table(summary: TrainSummary) -> list[dict[str, Any]]:
    """Rows that set single members beside the ensemble; none for what is no ensemble, or has no test votes."""
    path = summary.folder / COMPARISON
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.is_file() else []
    return rows


def mean_history(histories: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Epochs of an ensemble: means over its members, as long as all of them learn; seconds are those of all together.

    Parameters
    ----------
    histories
        Of each member, see `TrainResult.history`.
    """
    epochs: list[EpochMetrics] = []
    for same in zip(*histories, strict=False):
        loss = _mean(same, "validation_loss")
        epochs.append(
            EpochMetrics(
                epoch=same[0]["epoch"],
                train_loss=_mean(same, "train_loss"),
                validation_loss=loss,
                train_nll=_means(same, "train_nll"),
                validation_nll=_means(same, "validation_nll"),
                lr=_mean(same, "lr"),
                seconds=sum(one["seconds"] for one in same),
                images_per_s=_mean(same, "images_per_s"),
                best=all(loss < epoch.validation_loss for epoch in epochs),
            )
        )
    return [epoch.to_dict() for epoch in epochs]


def _mean(epochs: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(np.mean([epoch[name] for epoch in epochs]))


def _means(epochs: Sequence[Mapping[str, Any]], name: str) -> dict[str, float]:
    return {question: _mean([epoch[name] for epoch in epochs], question) for question in epochs[0][name]}


def _joined(chunk: TrainChunk, origin: Origin, shards: ShardSet, members: Sequence[TrainResult]) -> TrainResult:
    """The ensemble as the result of a training, its model saved; its folder is one as training leaves it."""
    folder, first = Path(chunk.folder), members[0]
    config = chunk.config.resolve(origin.n_galaxies["train"], origin.recipe)
    model = join([one.model for one in members])
    # The configuration is that of all of them: its seed is the first one's.
    model.spec = model.spec.model_copy(update={"training": config.model_dump(mode="json")})
    # Members learn from all labels: see `plan`.
    model.support = fit_support(model, shards, training_rows(shards, None, config.seed))
    model.save(folder / MODEL)
    history = mean_history([one.history for one in members])
    best = min(history, key=lambda epoch: epoch["validation_loss"])["epoch"]
    write_json(
        folder / DESCRIPTION,
        {
            "fingerprint": model.spec.training_fingerprint,
            "shards": {"folder": origin.folder, "fingerprint": origin.fingerprint, "survey": origin.survey},
            "parent": None,
            "n_train": first.n_train,
            "config": config.model_dump(mode="json"),
            "finished": True,
            "best_epoch": best,
            "baseline": first.baseline,
            "history": history,
        },
    )
    return TrainResult(
        # Read back from disk: what is scored is what was saved.
        model=Morphology.load(folder / MODEL),
        folder=folder / MODEL,
        history=history,
        best_epoch=best,
        baseline=first.baseline,
        config=config,
        n_train=first.n_train,
        finished=True,
    )


def _comparison(result: TrainResult, shards: ShardSet, folder: Path, trained: Sequence[TrainSummary]) -> PassComparison:
    """The ensemble beside its members, on the test galaxies that all of them are scored on."""
    with np.load(folder / TEST, allow_pickle=False) as stored:
        ids, ensemble, votes = stored["ids"], stored["concentrations"], stored["votes"]
    dropout = []
    for one in trained:
        with np.load(one.folder / TEST, allow_pickle=False) as stored:
            rows = {id_str: row for row, id_str in enumerate(stored["ids"].tolist())}
            dropout.append(stored["concentrations"][[rows[id_str] for id_str in ids.tolist()]])
    predictor, spec = Predictor(without_dropout(result.model)), result.model.spec
    parts = [predictor.predict(reader, n_samples=spec.samples) for reader in shards.readers("test")]
    rows = {id_str: row for row, id_str in enumerate(id_str for part in parts for id_str in part.ids)}
    passes = np.concatenate([part.concentrations for part in parts])[[rows[id_str] for id_str in ids.tolist()]]
    return compare_passes(np.split(passes, spec.members, axis=1), dropout, ensemble, votes, shards.tree)


def _log_comparison(
    tracked: TrackedRun, comparison: PassComparison, trained: Sequence[TrainSummary], folder: Path
) -> None:
    tracked.log_results(comparison.metrics())
    rows = [
        {
            "prediction": _MEANING[score.name],
            "seed": "all" if score.network is None else str(trained[score.network].seed),
            "test NLL": round(score.nll, 4),
            "90 % intervals hold": round(score.coverage, 4),
            "galaxies": comparison.n,
            "run": tracked.id if score.network is None else trained[score.network].run_id,
        }
        for score in comparison.scores
    ]
    write_json(folder / COMPARISON, rows)
    tracked.log_table("tables/members.json", list(rows[0]), [list(row.values()) for row in rows])
    gain = comparison.gain
    tracked.set_tags(
        {"gzflow.ensemble_gain": f"{gain.mean:.3f} nats a galaxy over a member ({gain.lower:.3f} to {gain.upper:.3f})"}
    )
