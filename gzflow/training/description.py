"""What a finished training says of itself, checked: its folder may come from anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from gzflow.errors import TrainingError
from gzflow.training.metrics import EpochMetrics
from gzflow.training.refit import Refit

DESCRIPTION = "training.json"

# They name folders.
_Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
_Survey = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=40)]


class _Shards(BaseModel):
    folder: str
    fingerprint: _Fingerprint
    survey: _Survey


class _Parent(BaseModel):
    fingerprint: _Fingerprint


class _Finished(BaseModel):
    shards: _Shards
    parent: _Parent | None = None
    n_train: Annotated[int, Field(ge=1)]
    history: Annotated[list[EpochMetrics], Field(min_length=1)]
    best_epoch: Annotated[int, Field(ge=0)]
    baseline: dict[str, float]
    refit: Refit | None = None


def read_finished(folder: Path) -> dict[str, Any]:
    """The description of the finished training in `folder`.

    Raises
    ------
    TrainingError
        Naming all that is missing or cannot be.
    """
    path = folder / DESCRIPTION
    description: dict[str, Any] = json.loads(path.read_text("utf-8"))
    try:
        read = _Finished.model_validate(description)
        problems = [] if read.best_epoch < len(read.history) else [f"best_epoch: there is no epoch {read.best_epoch}"]
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    if problems:
        raise TrainingError(
            "the training's description is damaged or was changed",
            where=str(path),
            problems=problems,
            expected="what a finished training writes: shards, parent, n_train, history, best_epoch and baseline, with"
            " fingerprints of hexadecimal digits",
            fix="copy the folder once more from where it was trained, or train it again",
        )
    return description
