"""Train on a node that has the compute core and nothing else: no MLflow, no Prefect, no catalog store.

``gzflow import-run FOLDER`` brings what was trained into MLflow, on a machine that has the shards too.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gzflow.errors import SettingsError
from gzflow.lock import exclusive
from gzflow.shards.reader import ShardSet
from gzflow.terminal import plain_command
from gzflow.training.config import FineTuneConfig, TrainConfig
from gzflow.training.launch import launch
from gzflow.training.metrics import EpochMetrics
from gzflow.training.presets import PRESETS, configured

logger = logging.getLogger("gzflow.training")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    given = _parser().parse_args(arguments)
    with plain_command(given.folder):
        kind = FineTuneConfig if given.parent else TrainConfig
        config = read_config(given.set, kind, preset=given.preset, file=given.config)
        shards = ShardSet.open(given.shards)
        with exclusive(given.folder, f"training {shards.survey}"):
            result = launch(shards, config, given.folder, parent=given.parent, on_epoch=_say)
        best = result.history[result.best_epoch]
        logger.info(
            "best epoch %d of %d: validation %.3f (constant Dirichlet %.3f); the model: %s",
            result.best_epoch + 1,
            len(result.history),
            best["validation_loss"],
            result.baseline["loss"],
            result.folder,
        )


def read_config(
    entries: Sequence[str],
    kind: type[TrainConfig] = TrainConfig,
    *,
    preset: str | None = None,
    file: Path | None = None,
) -> TrainConfig:
    """The configuration that ``NAME=VALUE`` entries make, over those of a file and a preset: see `configured`.

    Raises
    ------
    SettingsError
        Naming all that is wrong.
    """
    if problems := [f"{entry!r} is not NAME=VALUE" for entry in entries if "=" not in entry]:
        raise SettingsError(
            "the training options cannot be used",
            problems=problems,
            expected=f"NAME=VALUE with names among {', '.join(kind.model_fields)}",
            fix="correct --set, for example --set epochs=20 encoder=resnet18",
        )
    values = {name: _value(text) for name, _, text in (entry.partition("=") for entry in entries)}
    return configured(kind, preset=preset, file=file, given=values)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _say(epoch: EpochMetrics) -> None:
    logger.info(
        "epoch %d: train %.3f, validation %.3f%s, %.0f s",
        epoch.epoch + 1,
        epoch.train_loss,
        epoch.validation_loss,
        " (best)" if epoch.best else "",
        epoch.seconds,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gzflow.training",
        description="Fit a model to a set of shards. Run again, it goes on where it was stopped.",
    )
    parser.add_argument("shards", type=Path, metavar="SHARDS", help="folder that `gzflow shard` wrote")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the run and its model go")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="options: epochs=20 devices=4",
    )
    parser.add_argument("--preset", choices=PRESETS, help="options to begin with")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML or YAML with options, over the preset's")
    parser.add_argument("--parent", type=Path, metavar="MODEL", help="folder of a saved model to fine-tune")
    return parser


if __name__ == "__main__":
    main()
