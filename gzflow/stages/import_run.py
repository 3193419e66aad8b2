"""Import: bring a training that was done without this MLflow store, or without any, into it, once."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl

from gzflow.durable import replacing, write_json
from gzflow.errors import ShardError, TrainingError
from gzflow.evaluation.metrics import Evaluation
from gzflow.lock import exclusive
from gzflow.model.morphology import read_spec
from gzflow.model.spec import JOINT
from gzflow.settings import Settings
from gzflow.shards.header import MANIFEST, SPLITS
from gzflow.shards.reader import ShardSet
from gzflow.stages.leakage import GALAXIES, Leakage
from gzflow.stages.run_file import folder_run
from gzflow.stages.scoring import SCORES, TEST, load_evaluation
from gzflow.stages.train_chunk import Kind, Origin, TrainChunk, describe, lineage_of
from gzflow.stages.train_summary import RESULT, TrainSummary, read_summary
from gzflow.stages.training_log import log_epochs
from gzflow.stages.training_run import conclude, score
from gzflow.tracking.registry import ModelRef, Registry
from gzflow.tracking.run import TrackedRun
from gzflow.training.description import DESCRIPTION, read_finished
from gzflow.training.folder import MODEL
from gzflow.training.result import TrainResult, load_result
from gzflow.tree import joint_name

logger = logging.getLogger(__name__)

_SCORED = (TEST, SCORES, GALAXIES)
"""What the stage `train` leaves: with it a run is imported without its shards."""


def import_run(source: Path, settings: Settings, *, shards: Path | None = None) -> TrainSummary:
    """The run in this store, its model registered; one that is there already is returned as it is.

    The folder may come from another machine; nothing that it says of places there is needed. It is copied into the
    home. A training from scratch gets the name that it would have here, so that `gzflow train` with the same shards
    and configuration returns it. A fine-tune gets a name of its own: `gzflow finetune` keeps its trainings below the
    comparison they belong to, and does not look for them here.

    Parameters
    ----------
    source
        A training's folder, of `gzflow train` or of ``python -m gzflow.training``. It is only read.
    shards
        The set that it was trained on. None: looked for in the home, by its fingerprint; what `gzflow train` had
        scored needs none.

    Raises
    ------
    TrainingError
        No finished training in the folder, or its description lacks something.
    ShardError
        It was never scored, and its shards are not here.
    """
    source = Path(source).absolute()
    result = load_result(source)
    description = read_finished(source)
    spec = read_spec(source / MODEL)
    survey = spec.survey
    if len(spec.surveys) > 1:
        raise TrainingError(
            f"this training learnt {', '.join(spec.surveys)} together",
            where=str(source),
            expected="one survey's share of it",
            fix=f"import the folders below it one by one: {', '.join(str(source / name) for name in spec.surveys)}",
        )
    if survey != description["shards"]["survey"]:
        raise TrainingError(
            f"the model is of survey {survey!r}, the training of {description['shards']['survey']!r}",
            where=str(source),
            expected="a folder as training leaves it, with its own model",
            fix="copy the folder once more from where it was trained",
        )
    folder = _place(source, description, result, settings)
    with exclusive(folder, f"importing a run of {survey}"):
        return _import(source, folder, description, settings, shards)


def _import(
    source: Path, folder: Path, description: dict[str, Any], settings: Settings, shards_folder: Path | None
) -> TrainSummary:
    earlier, survey = _earlier(source), read_spec(source / MODEL).survey
    belongs_to = earlier.get("parent_run_id") if source == folder else None
    if (known := read_summary(folder, settings, belongs_to)) is not None:
        logger.info("%s: this run is here already: %s", survey, known.sentence())
        return known
    shards = None if earlier else _shards(description, settings, shards_folder)
    _copy(source, folder)
    result = load_result(folder)
    origin = Origin.of(shards) if shards else _carried_origin(folder, description)
    chunk = TrainChunk(
        survey=survey,
        shards=origin.folder,
        folder=str(folder),
        name=earlier.get("name") or folder.name,
        config=result.config,
        n_galaxies=origin.n_galaxies,
        kind=earlier.get("kind") or _kind(result, description),
        parent=_parent(folder, settings),
        register=not earlier or bool(earlier["model"]),
    )
    with folder_run(
        folder,
        settings,
        survey,
        name=chunk.name,
        lineage=lineage_of(chunk, origin),
        tags={"gzflow.kind": chunk.kind, "gzflow.imported": earlier.get("run_id") or "never logged"},
    ) as run:
        describe(run, chunk, origin)
        log_epochs(run, result)
        evaluation, leakage = _scores(chunk, shards, run, result) if shards else _carried_scores(folder, earlier)
        summary = conclude(chunk, origin, run, result, evaluation, leakage)
    write_json(folder / RESULT, asdict(summary))
    logger.info("%s: imported: %s", survey, summary.sentence())
    return summary


def _place(source: Path, description: dict[str, Any], result: TrainResult, settings: Settings) -> Path:
    """Where the run belongs: where it is, if that is in the home, or by what decides it, named as `train` would."""
    home, together = settings.training(result.model.spec.survey), _learnt_together(result, description)
    homes = [home, settings.training(joint_name(together))] if together else [home]
    if any(source.is_relative_to(one) for one in homes):
        return source
    parts = [description["shards"]["fingerprint"], result.config.fingerprint]
    if description.get("parent"):
        parts.append(description["parent"]["fingerprint"])
    if together:
        # The same configuration on this survey's shards alone is another training.
        parts.append(description["fingerprint"])
    return home / "-".join(part[:8] for part in parts)


def _learnt_together(result: TrainResult, description: dict[str, Any]) -> tuple[str, ...]:
    """The surveys of the joint training that this is one survey's share of; none for any other training."""
    names = "" if description.get("parent") else result.model.spec.notes.get(JOINT, "")
    return tuple(names.split(", ")) if names else ()


def _kind(result: TrainResult, description: dict[str, Any]) -> Kind:
    if description.get("parent"):
        return "finetuned"
    return "joint" if _learnt_together(result, description) else "trained"


def _earlier(source: Path) -> dict[str, Any]:
    """What the run came to where it was scored; empty if it never was."""
    if not all((source / name).is_file() for name in (RESULT, *_SCORED)):
        return {}
    stored: dict[str, Any] = json.loads((source / RESULT).read_text("utf-8"))
    return stored


def _copy(source: Path, folder: Path) -> None:
    """Copy what makes the run, its description last: what is killed in between is copied again."""
    if source == folder:
        return
    names = [f"{MODEL}/{file.name}" for file in sorted((source / MODEL).iterdir())]
    for name in [*names, *(name for name in _SCORED if (source / name).is_file()), DESCRIPTION]:
        with replacing(folder / name) as temporary:
            shutil.copyfile(source / name, temporary)


def _shards(description: dict[str, Any], settings: Settings, named: Path | None) -> ShardSet:
    """The set with the training's fingerprint."""
    wanted = description["shards"]
    here = (settings.home / "shards" / wanted["survey"]).glob(f"*/{MANIFEST}")
    places = [named] if named else sorted(manifest.parent for manifest in here)
    for place in places:
        shards = ShardSet.open(place)
        if shards.fingerprint == wanted["fingerprint"]:
            return shards
    raise ShardError(
        "the run was never scored, and the shards it was trained on are not here",
        where=", ".join(map(str, places)) or str(settings.home / "shards" / wanted["survey"]),
        expected=f"a set of {wanted['survey']} with fingerprint {wanted['fingerprint']}",
        fix="copy the set from the machine that trained, and name its folder with --shards",
    )


def _carried_origin(folder: Path, description: dict[str, Any]) -> Origin:
    spec = read_spec(folder / MODEL)
    splits = pl.read_parquet(folder / GALAXIES, columns=["split"])["split"]
    return Origin(
        survey=spec.survey,
        tree=spec.tree,
        recipe=spec.recipe,
        fingerprint=description["shards"]["fingerprint"],
        folder=description["shards"]["folder"],
        n_galaxies={split: int((splits == split).sum()) for split in SPLITS},
    )


def _carried_scores(folder: Path, earlier: dict[str, Any]) -> tuple[Evaluation | None, Leakage]:
    """The scores as they were taken, and which test galaxies they leave out."""
    evaluation, scored, *_ = load_evaluation(folder)
    test = pl.read_parquet(folder / GALAXIES).filter(pl.col("split") == "test")["id_str"]
    left_out = frozenset(test) - frozenset(scored)
    return evaluation, Leakage(
        left_out, earlier["n_leaked_by_parent"], earlier["n_overlapping"], tuple(earlier["guard_unknown"])
    )


def _parent(folder: Path, settings: Settings) -> ModelRef | None:
    """The model of this store that a fine-tune started from, known by its training."""
    notes = read_spec(folder / MODEL).notes
    return Registry(settings).trained(notes["parent_survey"], notes["parent"]) if "parent_survey" in notes else None


def _scores(
    chunk: TrainChunk, shards: ShardSet, run: TrackedRun, result: TrainResult
) -> tuple[Evaluation | None, Leakage]:
    evaluation, leakage = score(chunk, shards, run, result)
    if chunk.kind == "finetuned" and chunk.parent is None:
        blind = "the model that was fine-tuned is not in this store"
        leakage = replace(leakage, unknown=(*leakage.unknown, blind))
    if chunk.kind == "joint":
        blind = "the galaxies of the other surveys that were learnt together are not here"
        leakage = replace(leakage, unknown=(*leakage.unknown, blind))
    return evaluation, leakage
