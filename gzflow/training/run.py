"""What decides a training run, and what it needs before it can begin."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gzflow.errors import TrainingError
from gzflow.shards.reader import ShardSet
from gzflow.training.config import FineTuneConfig, TrainConfig
from gzflow.training.data import EpochOrder, training_rows
from gzflow.training.finetuning import Parent


@dataclass(frozen=True)
class Run:
    """Everything that decides a run, settled.

    Attributes
    ----------
    shards
        The galaxies.
    config
        With every "auto" resolved.
    rows
        Ascending numbers of the training galaxies that are learnt from.
    parent
        The model that is fine-tuned.
    weights
        Digest of the file that the encoder starts from.
    """

    shards: ShardSet
    config: TrainConfig
    rows: NDArray[np.int64]
    parent: Parent | None
    weights: str | None = None

    @classmethod
    def settle(cls, shards: ShardSet, config: TrainConfig, parent: Path | None) -> Self:
        """The run that these ask for; settling twice changes nothing: a run's processes are given the settled one.

        Raises
        ------
        TrainingError
            A parent that does not fit, or none for a `FineTuneConfig`; weights that cannot be read.
        ModelError
            The parent cannot be loaded.
        """
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
        return cls(shards, config, rows, origin, _digest(config.encoder_weights) if config.encoder_weights else None)

    @property
    def fingerprint(self) -> str:
        """Shards, configuration, and where the weights start."""
        parts = [self.shards.fingerprint, self.config.fingerprint, *([self.weights] if self.weights else [])]
        return "-".join(parts if self.parent is None else [*parts, self.parent.fingerprint])

    @property
    def votes(self) -> NDArray[np.int32]:
        """(n_train, n_answers) votes that are learnt from."""
        return self.shards.votes("train")[self.rows]

    def require_votes(self) -> None:
        """Refuse to learn from, or to validate on, galaxies that nobody voted on."""
        problems = []
        for split, votes in (("train", self.votes), ("validation", self.shards.votes("validation"))):
            if not len(votes):
                problems.append(f"the {split} split has no galaxy")
            elif not np.any(votes > 0):
                problems.append(f"the {split} split has {len(votes)} galaxies, and nobody voted on any of them")
        if problems:
            raise TrainingError(
                "there is nothing to learn from",
                where=str(self.shards.folder),
                problems=problems,
                expected="galaxies with votes in the train and the validation split",
                fix="ingest more galaxies, or check the survey's vote columns, and make the shards again",
            )

    def require_shares(self) -> None:
        """Refuse more processes than have, each, a galaxy to validate on and, for batch normalisation, two a batch."""
        n_train, n_validation, config = len(self.rows), self.shards.n("validation"), self.config
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
                where=str(self.shards.folder),
                problems=problems,
                expected=f"{2 * config.devices} or more galaxies a training batch, two a device, and a validation"
                " galaxy a device",
                fix="use fewer devices, a larger batch_size, or more galaxies",
            )


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
