"""One survey's share of a joint training: its losses, its head, and these as a training of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gzflow.durable import write_json
from gzflow.shards.reader import ShardSet
from gzflow.training.config import TrainConfig
from gzflow.training.data import training_rows
from gzflow.training.description import DESCRIPTION
from gzflow.training.folder import MODEL
from gzflow.training.metrics import EpochMetrics
from gzflow.training.result import TrainResult, constant_nll
from gzflow.training.support import fit_support
from gzflow.tree import DecisionTree


@dataclass(frozen=True)
class SurveyShare:
    """A survey among those that are learnt together.

    Attributes
    ----------
    shards
        The survey's own.
    rows
        Ascending numbers of its training galaxies that are learnt from.
    """

    shards: ShardSet
    rows: NDArray[np.int64]

    def epoch(self, whole: EpochMetrics) -> EpochMetrics:
        """The epoch as this survey saw it: its questions, and losses a galaxy of its own.

        The training loss takes the galaxies that sat the epoch out for average ones.
        """
        train, validation = self._own(whole.train_nll), self._own(whole.validation_nll)
        return replace(
            whole,
            train_nll=train,
            validation_nll=validation,
            train_loss=self._loss(train, self.shards.votes("train")[self.rows]),
            validation_loss=self._loss(validation, self.shards.votes("validation")),
        )

    def save(self, result: TrainResult, folder: Path) -> None:
        """Write the survey's share of a finished joint training as a finished training of its own, if it is not there.

        `gzflow.training.result.load_result` reads it; its best epoch is that of all surveys together.
        """
        if (folder / DESCRIPTION).is_file():
            return
        model = result.model.answering(self.shards.survey)
        # The joint one's false alarms are counted over the galaxies of all surveys.
        model.support = fit_support(model, self.shards, self.rows)
        model.save(folder / MODEL)
        whole = json.loads((result.folder.parent / DESCRIPTION).read_text("utf-8"))
        shards = {name: str(getattr(self.shards, name)) for name in ("folder", "fingerprint", "survey")}
        own = {
            "shards": shards,
            "n_train": len(self.rows),
            "baseline": constant_nll(self.shards, self.shards.votes("train")[self.rows]),
            "history": [self.epoch(EpochMetrics(**epoch)).to_dict() for epoch in result.history],
            "refit": None,
        }
        write_json(folder / DESCRIPTION, whole | own)

    def _own(self, nll: Mapping[str, float]) -> dict[str, float]:
        """Of the joint tree's questions, this survey's, by their own names."""
        survey, questions = self.shards.survey, self.shards.tree.questions
        names = {DecisionTree.joined_question(survey, question.name): question.name for question in questions}
        return {names[name]: value for name, value in nll.items() if name in names}

    def _loss(self, nll: Mapping[str, float], votes: NDArray[np.int32]) -> float:
        tree = self.shards.tree
        asked = {q.name: (votes[:, part].sum(1) > 0).sum() for q, part in zip(tree.questions, tree.slices, strict=True)}
        return float(sum(value * asked[name] for name, value in nll.items()) / max(len(votes), 1))


def survey_shares(shards: ShardSet, config: TrainConfig) -> tuple[SurveyShare, ...]:
    """Of each survey of a joint set; none where there is but one survey."""
    if len(shards.parts) == 1:
        return ()
    rows = training_rows(shards, config.labels, config.seed)
    bounds = np.cumsum([0, *(part.n("train") for part in shards.parts)])
    return tuple(
        SurveyShare(part, rows[(rows >= start) & (rows < stop)] - start)
        for part, start, stop in zip(shards.parts, bounds, bounds[1:], strict=False)
    )
