"""What a training run learns from and where it lies, and how MLflow is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from gzflow.recipe import ImageRecipe
from gzflow.shards.header import SPLITS, Split
from gzflow.shards.reader import ShardSet
from gzflow.tracking.registry import ModelRef
from gzflow.tracking.run import Lineage, TrackedRun
from gzflow.training.config import FineTuneConfig, TrainConfig
from gzflow.tree import DecisionTree

Kind = Literal["trained", "finetuned", "scratch", "joint", "ensemble", "member"]
CHANGEABLE = {"workers"}
"""Options that an interrupted run may go on with otherwise: they decide no result, and parameters cannot change."""


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


def lineage_of(chunk: TrainChunk, origin: Origin, flow_run: tuple[str, str] | None = None) -> Lineage:
    """What the run was made from, for its tags."""
    return Lineage(
        tree_fingerprint=origin.tree.fingerprint,
        shard_fingerprint=origin.fingerprint,
        parent_model=start.uri if (start := start_of(chunk)) else None,
        flow_run_id=flow_run[0] if flow_run else None,
        flow_run_url=flow_run[1] if flow_run else None,
    )


def start_of(chunk: TrainChunk) -> ModelRef | None:
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
