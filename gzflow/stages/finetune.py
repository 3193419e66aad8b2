"""Finetune: a model of one survey learns another survey's questions, beside the same budget from scratch."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gzflow.durable import write_bytes, write_json
from gzflow.errors import SettingsError, TrackingError
from gzflow.evaluation.bootstrap import Interval, bootstrap_means
from gzflow.evaluation.figures import figure_png, learning_curve_figure
from gzflow.evaluation.learning_curve import CurvePoint, LearningCurve, learning_curve
from gzflow.lock import exclusive
from gzflow.settings import Settings
from gzflow.shards.header import SPLITS
from gzflow.shards.reader import ShardSet
from gzflow.stages.finetune_options import FineTuneOptions
from gzflow.stages.run_file import folder_run
from gzflow.stages.scoring import SCORES
from gzflow.stages.shard_sets import find_shards
from gzflow.stages.train_chunk import CHANGEABLE, Kind, TrainChunk
from gzflow.stages.train_summary import RESULT, TrainSummary, read_summary
from gzflow.stages.training_run import run_training
from gzflow.surveys import load_survey
from gzflow.tracking.artifacts import run_metrics
from gzflow.tracking.registry import ModelRef, Registry
from gzflow.tracking.run import Lineage, TrackedRun, run_exists, run_page
from gzflow.training.config import FineTuneConfig, TrainConfig
from gzflow.training.finetuning import Parent

logger = logging.getLogger(__name__)

PICTURE = "learning-curve.png"
OWN = {"encoder", "dropout", "lr"}
"""What a training from scratch does not take over from the fine-tune beside it, but for the encoder's name."""


@dataclass(frozen=True)
class FineTunePlan:
    """The trainings of a fine-tune; the first one is the model that is registered.

    Attributes
    ----------
    folder
        Of this set of trainings, which has an MLflow run of its own. It lies in the one named by parent, shards and
        configuration, beside the folders of the trainings: another set finds those that were trained before.
    name
        Of the MLflow run.
    config
        With the parent's encoder, stem and input pixels filled in.
    """

    survey: str
    shards: str
    folder: str
    name: str
    parent: ModelRef
    config: FineTuneConfig
    chunks: tuple[TrainChunk, ...]


@dataclass(frozen=True, kw_only=True)
class FineTuneSummary:
    """A fine-tuned and registered model, and what it was compared with.

    Attributes
    ----------
    trainings
        All of them, the registered model's first.
    gain
        NLL of the training from scratch minus that of the fine-tune, both with all labels, in nats a galaxy with a
        95 % paired bootstrap interval over test galaxies; None without a training from scratch or without scores.
    curve
        The learning curve; None when no label count was named.
    picture
        Of the curve.
    """

    survey: str
    parent: str
    folder: Path
    run_id: str
    url: str | None
    trainings: tuple[TrainSummary, ...]
    gain: Interval | None
    curve: LearningCurve | None
    picture: Path | None
    reused: bool = False

    @property
    def tuned(self) -> TrainSummary:
        """The fine-tune on all labels: the registered model."""
        return self.trainings[0]

    def sentence(self) -> str:
        """One line for people, with the baselines."""
        parts = [f"{self.tuned.sentence()}, fine-tuned from {self.parent}"]
        if self.gain is not None:
            parts.append(
                f"it gains {self.gain.mean:.3f} nats a galaxy on the same budget from scratch"
                f" (95 %: {self.gain.lower:.3f} to {self.gain.upper:.3f}; above 0 is better)"
            )
        if self.curve is not None and self.curve.labels_saved is not None:
            parts.append(f"{self.curve.labels_saved} for what all of them bring from scratch")
        return "; ".join(parts)


def plan(options: FineTuneOptions, settings: Settings) -> FineTunePlan:
    """The trainings there are to do, after opening shards and parent.

    Raises
    ------
    ShardError
        No finished shard set, or several and none named.
    NoChampion, TrackingError
        There is no such parent.
    TrainingError
        The parent does not fit the shards or the configuration.
    SettingsError
        Label counts beyond the training galaxies.
    """
    survey = load_survey(options.survey)
    shards = find_shards(survey.name, options.pixels, settings)
    most = options.config.labels
    n_train = min(shards.n("train"), most or shards.n("train"))
    if beyond := [count for count in options.label_counts if count >= n_train]:
        raise SettingsError(
            f"there are {n_train:,} training galaxies to learn from",
            where=str(shards.folder),
            problems=[f"label count {count} is not below that" for count in beyond],
            expected=f"label counts below {n_train:,}: all labels are always used as well",
            fix="leave these counts out",
        )
    ref = find_parent(options.parent, settings)
    parent = Parent.open(ref.folder)
    config = parent.settle(options.config, shards.recipe)
    decisive = [shards.fingerprint, parent.fingerprint, config.fingerprint]
    folder = settings.training(survey.name) / f"finetune-{shards.fingerprint[:8]}-{_digest(decisive)}"
    kinds: tuple[Kind, ...] = ("finetuned", "scratch") if options.scratch else ("finetuned",)
    chunks: list[TrainChunk] = []
    for labels, step, kind in product((most, *sorted(options.label_counts)), range(options.seeds), kinds):
        seed = config.seed + step
        chosen: TrainConfig = config if kind == "finetuned" else _from_scratch(config)
        what = f"{kind}, {labels or 'all'} labels, seed {seed}"
        chunks.append(
            TrainChunk(
                survey=options.survey,
                shards=str(shards.folder),
                folder=str(folder / what.replace(",", "").replace(" ", "-")),
                name=what,
                config=chosen.model_copy(update={"labels": labels, "seed": seed}),
                n_galaxies={split: shards.n(split) for split in SPLITS},
                kind=kind,
                parent=ref,
                register=not chunks,
            )
        )
    whole = _digest([*decisive, *(chunk.name for chunk in chunks)])
    name = f"{config.encoder}-{shards.recipe.pixels}px-from-{'-'.join(filter(None, [ref.name, ref.version]))}-{whole}"
    return FineTunePlan(survey.name, str(shards.folder), str(folder / whole), name, ref, config, tuple(chunks))


def _digest(decisive: list[str]) -> str:
    return hashlib.blake2b(json.dumps(decisive).encode(), digest_size=4).hexdigest()


def find_parent(reference: str, settings: Settings) -> ModelRef:
    """The model that `FineTuneOptions.parent` names, pinned.

    Raises
    ------
    NoChampion, TrackingError, SurveyError
        There is none.
    """
    registry = Registry(settings)
    if reference.startswith("models:/"):
        return registry.resolve(reference)
    # A folder that merely has a survey's name (its images, say) is no model.
    for folder in (Path(reference), Path(reference) / "model"):
        if (folder / "model.json").is_file():
            return registry.resolve(folder)
    if reference.endswith(".toml"):
        return registry.champion(load_survey(reference).name)
    found = re.fullmatch(r"([\w-]+)(?:/(\d+)|@(champion|challenger))?", reference)
    if found is None:
        raise TrackingError(
            f"{reference!r} names no model",
            expected="a survey (its champion), survey/3, survey@challenger, a models:/ URI, or a saved model's folder",
            fix="write it in one of these forms, for instance --from decals",
        )
    survey, version, alias = found.groups()
    return registry.resolve(version or alias or "champion", survey)


def run(
    plan_: FineTunePlan,
    settings: Settings,
    *,
    each: Callable[[TrainChunk, str], TrainSummary] | None = None,
    flow_run: tuple[str, str] | None = None,
) -> FineTuneSummary:
    """Do all trainings, each as an MLflow run below the fine-tune's own, and compare them.

    Whatever was finished before is found again, also below the run of another set of trainings, where it stays; the
    fine-tune's own run ends as the work ends.

    Parameters
    ----------
    each
        Does one training, given its chunk and the id of the run that it belongs to; by default `run_training`.
    flow_run
        Id and page of the orchestrator's run, for the tags.

    Raises
    ------
    Busy
        Another process is at it.
    """
    folder = Path(plan_.folder)
    with exclusive(folder, f"fine-tuning for {plan_.survey}"):
        if (known := _finished(plan_, settings)) is not None:
            logger.info("%s: this fine-tune was done before: %s", known.survey, known.sentence())
            return known
        shards = ShardSet.open(Path(plan_.shards))
        lineage = Lineage(
            tree_fingerprint=shards.tree.fingerprint,
            shard_fingerprint=shards.fingerprint,
            parent_model=plan_.parent.uri,
            flow_run_id=flow_run[0] if flow_run else None,
            flow_run_url=flow_run[1] if flow_run else None,
        )
        tags = {"gzflow.kind": "finetune"}
        with folder_run(folder, settings, plan_.survey, name=plan_.name, lineage=lineage, tags=tags) as tracked:
            resolved = plan_.config.resolve(shards.n("train"), shards.recipe)
            tracked.log_params(resolved.model_dump(mode="json", exclude=CHANGEABLE))
            if each is None:
                trainings = [run_training(chunk, settings, parent_run_id=tracked.id) for chunk in plan_.chunks]
            else:
                trainings = [each(chunk, tracked.id) for chunk in plan_.chunks]
            summary = _summary(plan_, tracked.id, tracked.url, tuple(trainings))
            _log(tracked, summary)
        write_json(folder / RESULT, {"run_id": summary.run_id})
    logger.info("%s: %s", summary.survey, summary.sentence())
    return summary


def table(summary: FineTuneSummary) -> list[dict[str, Any]]:
    """One row a training: what it was, its score beside the constant's, and where it is logged."""
    return [
        {
            "training": training.kind,
            "labels": training.labels,
            "seed": training.seed,
            "test NLL": round(training.loss, 4),
            "constant": round(training.constant, 4),
            "galaxies": training.n_test,
            "epochs": training.n_epochs,
            "run": training.run_id,
        }
        for training in summary.trainings
    ]


def _from_scratch(config: FineTuneConfig) -> TrainConfig:
    """The same budget for a model that starts from random weights: its own rates, all else alike."""
    shared = config.model_dump(include=set(TrainConfig.model_fields) - OWN)
    return TrainConfig(**shared, encoder=config.encoder)


def _finished(plan_: FineTunePlan, settings: Settings) -> FineTuneSummary | None:
    """The summary if all of the plan's trainings were compared and the store still has the run."""
    path = Path(plan_.folder) / RESULT
    if not path.is_file():
        return None
    stored: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
    if not run_exists(settings, stored["run_id"]):
        return None
    trainings = [read_summary(Path(chunk.folder), settings, stored["run_id"]) for chunk in plan_.chunks]
    whole = tuple(training for training in trainings if training is not None)
    if len(whole) < len(trainings):
        return None
    return _summary(plan_, stored["run_id"], run_page(settings, stored["run_id"]), whole, reused=True)


def _summary(
    plan_: FineTunePlan, run_id: str, url: str | None, trainings: tuple[TrainSummary, ...], *, reused: bool = False
) -> FineTuneSummary:
    folder = Path(plan_.folder)
    curve = None
    if len({training.labels for training in trainings}) > 1 and trainings[0].n_test:
        points = [
            CurvePoint("scratch" if t.kind == "scratch" else "finetuned", t.labels, t.seed, _losses(t))
            for t in trainings
        ]
        curve = learning_curve(points, constant=trainings[0].constant)
        write_bytes(folder / PICTURE, figure_png(learning_curve_figure(curve)))
    return FineTuneSummary(
        survey=plan_.survey,
        parent=plan_.parent.uri,
        folder=folder,
        run_id=run_id,
        url=url,
        trainings=trainings,
        gain=_gain(trainings),
        curve=curve,
        picture=folder / PICTURE if curve else None,
        reused=reused,
    )


def _gain(trainings: tuple[TrainSummary, ...]) -> Interval | None:
    tuned = trainings[0]
    rival = next(
        (t for t in trainings if t.kind == "scratch" and (t.labels, t.seed) == (tuned.labels, tuned.seed)), None
    )
    if rival is None or not tuned.n_test:
        return None
    difference = (_losses(rival) - _losses(tuned))[:, None]
    return bootstrap_means(difference, np.ones_like(difference, dtype=bool))[0]


def _losses(training: TrainSummary) -> NDArray[np.float64]:
    """(n_test,) NLL in nats of the test galaxies with votes: the same galaxies for all trainings of a fine-tune."""
    scores = pl.read_parquet(training.folder / SCORES)
    return scores.filter(pl.col("votes") > 0)["nll"].to_numpy()


def _log(tracked: TrackedRun, summary: FineTuneSummary) -> None:
    """The registered model's figures under the names of every run, and what only the comparison gives."""
    settings = tracked.settings
    metrics = tracked.patience.ask("read metrics", lambda: run_metrics(settings, summary.tuned.run_id))
    if summary.gain is not None:
        names = ("gain-over-scratch", "gain-over-scratch-lower", "gain-over-scratch-upper")
        values = (summary.gain.mean, summary.gain.lower, summary.gain.upper)
        metrics |= {f"test/{name}": value for name, value in zip(names, values, strict=True)}
    tracked.log_results(metrics)
    rows = table(summary)
    tracked.log_table("tables/trainings.json", list(rows[0]), [list(row.values()) for row in rows])
    if summary.tuned.guard_unknown:
        tracked.set_tags({"gzflow.guard_unknown": "; ".join(summary.tuned.guard_unknown)})
    if summary.curve is not None and summary.picture is not None:
        tracked.log_file(summary.picture, "figures")
        _log_curve(tracked, summary.curve)


def _log_curve(tracked: TrackedRun, curve: LearningCurve) -> None:
    """The curve with the number of labels as the step, so that MLflow's page draws it, and what the parent saves."""
    for kind, levels in (("finetuned", curve.finetuned), ("scratch", curve.scratch)):
        logged = tracked.logged_steps(f"curve/{kind}/nll") if levels else set()
        for level in (level for level in levels if level.labels not in logged):
            values = {"nll": level.mean, "nll-lower": level.lower, "nll-upper": level.upper}
            known = {name: value for name, value in values.items() if np.isfinite(value)}
            tracked.log_metrics({f"curve/{kind}/{name}": value for name, value in known.items()}, step=level.labels)
    if (saved := curve.labels_saved) is not None:
        share, lower, upper = saved.share
        values = {"share": share, "share-lower": lower, "share-upper": upper, "needed": saved.needed}
        tracked.log_results({f"labels-saved/{k}": v for k, v in values.items() if np.isfinite(v)})
        tracked.set_tags({"gzflow.labels_saved": str(saved)})
