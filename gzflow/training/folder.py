"""A training run's folder: whose it is, and what is in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import lightning
import torch

from gzflow.durable import write_json, write_many
from gzflow.errors import TrainingError
from gzflow.training.config import BEFORE
from gzflow.training.description import DESCRIPTION
from gzflow.training.metrics import EpochMetrics
from gzflow.training.run import Run

CHECKPOINT = "checkpoint.ckpt"
MODEL = "model"
_ASIDE = "best-epoch"


def claim(folder: Path, run: Run) -> dict[str, Any]:
    """The folder's description, written if there is none; refused if it is another run's."""
    shards, config, parent = run.shards, run.config, run.parent
    path = folder / DESCRIPTION
    mine: dict[str, Any] = {
        "fingerprint": run.fingerprint,
        "shards": {"folder": str(shards.folder), "fingerprint": shards.fingerprint, "survey": shards.survey},
        "parent": None if parent is None else {"folder": str(parent.folder), "fingerprint": parent.fingerprint},
        "n_train": len(run.rows),
        "config": config.model_dump(mode="json"),
        "versions": {"torch": torch.__version__, "lightning": lightning.__version__},
        "finished": False,
    }
    if not (folder / CHECKPOINT).is_file():
        # Of a run whose clearing was cut short: no epoch of this one is finished.
        forget_aside(folder)
    if not path.is_file():
        write_json(path, mine)
        return mine
    theirs: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if theirs.get("fingerprint") != mine["fingerprint"]:
        settings = BEFORE | theirs.get("config", {})
        differences = [
            f"{key}: {settings.get(key)!r} there, {value!r} now"
            for key, value in mine["config"].items()
            if settings.get(key) != value
        ]
        if theirs.get("shards", {}).get("fingerprint") != shards.fingerprint:
            differences.append("the shards are others, or have changed")
        if (theirs.get("parent") or {}).get("fingerprint") != (mine["parent"] or {}).get("fingerprint"):
            differences.append("the parent is another model, or none")
        raise TrainingError(
            "the folder holds a training run of another kind",
            where=str(folder),
            problems=differences,
            fix="train in a new folder, or pass resume=False to delete that run",
        )
    return theirs


def clear(folder: Path) -> None:
    """Forget the run in `folder`."""
    for name in (CHECKPOINT, DESCRIPTION):
        (folder / name).unlink(missing_ok=True)
    for name in (MODEL, _ASIDE):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)


def set_aside(folder: Path) -> Path:
    """The best epoch's model as training left it: a copy, made once, for what comes after is written over the first."""
    aside, copied = folder / _ASIDE, folder / f"{_ASIDE}.tmp"
    if not aside.is_dir():
        shutil.rmtree(copied, ignore_errors=True)
        write_many({copied / path.name: path.read_bytes() for path in (folder / MODEL).iterdir()})
        copied.rename(aside)
    return aside


def best_model(folder: Path) -> Path:
    """Where the best epoch's model is as training left it, in the folder of an unfinished run."""
    aside = folder / _ASIDE
    return aside if aside.is_dir() else folder / MODEL


def forget_aside(folder: Path) -> None:
    """Delete what `set_aside` made."""
    aside, forgotten = folder / _ASIDE, folder / f"{_ASIDE}.tmp"
    shutil.rmtree(forgotten, ignore_errors=True)
    if aside.is_dir():
        # Never half of it under its name: that would be taken for all.
        aside.rename(forgotten)
        shutil.rmtree(forgotten)


def finished_epochs(folder: Path) -> list[EpochMetrics]:
    """All finished epochs: a finished run describes them, an unfinished one has them in its checkpoint."""
    epochs = json.loads((folder / DESCRIPTION).read_text("utf-8")).get("history")
    if epochs is None and (folder / CHECKPOINT).is_file():
        epochs = torch.load(folder / CHECKPOINT, weights_only=True, map_location="cpu", mmap=True)["history"]
    return [EpochMetrics(**epoch) for epoch in epochs or ()]
