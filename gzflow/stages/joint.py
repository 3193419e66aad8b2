"""Joint: one encoder learns several surveys, and each survey gets its share of it as a model of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gzflow.errors import SettingsError, TrainingError
from gzflow.lock import exclusive
from gzflow.settings import Settings
from gzflow.shards.header import SPLITS
from gzflow.shards.joint import JointSet, open_shards
from gzflow.shards.reader import ShardSet
from gzflow.stages.shard_sets import find_shards
from gzflow.stages.train_chunk import TrainChunk
from gzflow.stages.train_summary import TrainSummary
from gzflow.stages.training_run import run_training
from gzflow.surveys import load_survey
from gzflow.training.config import TrainConfig
from gzflow.training.metrics import EpochMetrics
from gzflow.training.result import load_result
from gzflow.training.survey_share import survey_shares

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JointPlan:
    """One training on all surveys' galaxies, and what becomes of it in each survey.

    Attributes
    ----------
    whole
        The training; its model has a tree for each survey.
    shares
        One a survey: the encoder under that survey's head, scored and registered as the survey's.
    """

    whole: TrainChunk
    shares: tuple[TrainChunk, ...]


@dataclass(frozen=True)
class JointSummary:
    """A model of several surveys, and each survey's share of it."""

    whole: TrainSummary
    shares: tuple[TrainSummary, ...]

    def sentence(self) -> str:
        """A line for each survey, with the baselines, and one for all together."""
        return "\n".join(summary.sentence() for summary in (*self.shares, self.whole))


def plan(surveys: Sequence[str], settings: Settings, *, pixels: int | None, config: TrainConfig) -> JointPlan:
    """The training there is to do, after opening all shards; which these are is written to its folder.

    Every galaxy is learnt from once an epoch, so that a batch holds the surveys in proportion to their sizes, and
    images are normalised over all of them.

    Raises
    ------
    ShardError
        No finished set, or several and none named; sets of other channels or pixels; a survey named twice.
    SettingsError
        An ensemble is asked for.
    TrainingError
        A survey brings nothing to learn from.
    """
    if config.members > 1:
        raise SettingsError(
            f"{config.members} members are asked for, of a model that learns {len(surveys)} surveys",
            expected="an ensemble of one survey, or one joint model",
            fix="leave --members out, or train the surveys one by one",
        )
    named = {load_survey(name).name: name for name in surveys}
    sets = [find_shards(load_survey(name).name, pixels, settings) for name in surveys]
    joint = JointSet(Path(), sets)
    resolved = config.resolve(joint.n("train"), joint.recipe)
    _require_votes(joint, resolved)
    digest = resolved.fingerprint[:8]
    joint.folder = folder = settings.training(joint.survey) / f"{joint.fingerprint[:8]}-{digest}"
    joint.save()
    name = f"seed{resolved.seed}-{resolved.encoder}-{joint.recipe.pixels}px-{digest}"

    def chunk(survey: str, shards: ShardSet, place: Path, learnt: str | None = None) -> TrainChunk:
        sizes = {split: shards.n(split) for split in SPLITS}
        return TrainChunk(survey, str(shards.folder), str(place), name, config, sizes, kind="joint", joint=learnt)

    shares = [chunk(named[part.survey], part, folder / part.survey, str(folder)) for part in joint.parts]
    return JointPlan(chunk(joint.survey, joint, folder), tuple(shares))


def run(
    plan_: JointPlan,
    settings: Settings,
    *,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    stop: Callable[[], bool] | None = None,
    flow_run: tuple[str, str] | None = None,
) -> JointSummary:
    """Train, score, log and register; whatever was finished before is found again. See `run_training`.

    The training's run and model stand under the surveys' joint name, those of the shares under the surveys' own.
    """
    whole = run_training(plan_.whole, settings, on_epoch=on_epoch, stop=stop, flow_run=flow_run)
    with exclusive(whole.folder, f"parting {whole.name}"):
        _part(whole.folder, plan_.whole.config)
    shares = tuple(
        run_training(share, settings, parent_run_id=whole.run_id, flow_run=flow_run) for share in plan_.shares
    )
    return JointSummary(whole, shares)


def table(summary: JointSummary) -> list[dict[str, object]]:
    """One row a survey, and one for all: test NLL beside the constant's."""
    return [
        {
            "survey": one.survey,
            "model": f"{one.model}/{one.version}",
            "alias": one.alias,
            "test NLL": round(one.loss, 4),
            "constant": round(one.constant, 4),
            "galaxies": one.n_test,
            "left out": one.n_leaked,
            "run": one.run_id,
        }
        for one in (*summary.shares, summary.whole)
    ]


def _require_votes(joint: JointSet, config: TrainConfig) -> None:
    problems = [
        f"{share.shards.survey}: no {split} galaxy that is used has votes"
        for share in survey_shares(joint, config)
        for split, votes in (
            ("train", share.shards.votes("train")[share.rows]),
            ("validation", share.shards.votes("validation")),
        )
        if not votes.any()
    ]
    if problems:
        raise TrainingError(
            "not every survey has something to learn from",
            where=joint.survey,
            problems=problems,
            expected="galaxies with votes in the train and the validation split of each survey",
            fix="ingest more galaxies of these surveys, raise `labels`, or leave them out",
        )


def _part(folder: Path, config: TrainConfig) -> None:
    """Each survey's share of the finished training in `folder`, as a finished training below it."""
    result = load_result(folder)
    for share in survey_shares(open_shards(folder), config):
        share.save(result, folder / share.shards.survey)
