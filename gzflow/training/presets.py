"""Configurations by name, and a user's own from a file: what to begin with, what to override, all errors at once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from gzflow.errors import SettingsError
from gzflow.training.config import TrainConfig

Kind = TypeVar("Kind", bound=TrainConfig)

# No schedule, no decay, no clipping, no averaged weights: Adam as these papers and codes have it.
_PLAIN = {"weight_decay": 0.0, "warmup": 0.0, "final_lr": 1.0, "clip": 0.0, "average": 0.0, "head_epochs": 0}

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Walmsley et al. 2022 (MNRAS 509, 3966), as its TensorFlow code has it: grey images of 300 px, of which 225 are
        # cut out at random and made 224. Here 224 of 300 are cut out at once.
        "w21": _PLAIN
        | {
            "encoder": "efficientnet_b0",
            "grey": True,
            "concentrations": (1.0, 101.0),
            "dropout": 0.2,
            "batch_size": 128,
            "patience": 10,
            "epochs": 1000,
            "zoom": (1.0, 1.0),
            "shift": 0.16,
        },
        # Walmsley et al. 2020 (MNRAS 491, 1554): a point estimate of each fraction a dropout pass, of one question in
        # the paper; the survey says which. Its epochs had 15 steps, and it names no patience: both are ours. It zooms
        # by 1.1 to 1.3, in prediction too; here predictions are made at the stored scale, so the range begins there.
        "w20": _PLAIN
        | {
            "encoder": "w20",
            "grey": True,
            "likelihood": "multinomial",
            "dropout": 0.5,
            "samples": 15,
            "batch_size": 256,
            "patience": 10,
            "epochs": 200,
            "zoom": (1.0, 1.3),
            "shift": 0.0,
        },
        # Zoobot 2's training from scratch, with the encoder that its later classes default to. Its loss, range, rate,
        # decay, clipping, batch and patience; its augmentations are other ones.
        "zoobot": {
            "encoder": "timm:convnext_nano",
            "concentrations": (1.0, 101.0),
            "dropout": 0.2,
            "batch_size": 128,
            "lr": 1e-3,
            "weight_decay": 0.01,
            "warmup": 0.0,
            "final_lr": 1.0,
            "clip": 0.3,
            "average": 0.0,
            "head_epochs": 0,
            "patience": 8,
            "epochs": 1000,
        },
        # Intervals that hold what they promise on every question of a simulated sky, where one Dirichlet's do not.
        "calibrated": {"components": 5, "concentrations": (0.1, 1001.0)},
        # For a CPU: small images, minutes instead of hours.
        "small": {"encoder": "shufflenet_v2_x0_5", "lr": 3e-3, "epochs": 24, "patience": 6, "precision": "32-true"},
    }
)
"""Values over the defaults of `TrainConfig`. Grey networks cannot learn colour; `grey` says which a preset trains."""


def configured(
    kind: type[Kind], *, preset: str | None = None, file: Path | None = None, given: Mapping[str, Any] | None = None
) -> Kind:
    """A configuration: the defaults, over them the preset's values, over these the file's, over these `given` ones.

    Parameters
    ----------
    preset
        One of `PRESETS`; the file may name it too (``preset = "w21"``).
    file
        TOML or, by its suffix, YAML: names and values of `kind`.
    given
        None values are left out.

    Raises
    ------
    SettingsError
        All that is wrong: an unknown preset, a file that cannot be read, unknown names, impossible values.
    """
    values, problems = _read(file) if file is not None else ({}, [])
    named = values.pop("preset", None) if preset is None else preset
    if preset is not None:
        values.pop("preset", None)
    if named is not None and (not isinstance(named, str) or named not in PRESETS):
        problems.append(f"there is no preset {named!r}")
        named = None
    chosen = dict(PRESETS[named]) if named is not None else {}
    chosen |= values | {name: value for name, value in (given or {}).items() if value is not None}
    try:
        config = kind.model_validate(chosen)
    except ValidationError as error:
        told = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        # What contradicts another option has no place of its own.
        problems += [one.removeprefix(": Value error, ") for one in told]
    if problems:
        raise SettingsError(
            "the training options cannot be used",
            where=str(file) if file is not None else None,
            problems=problems,
            expected=f"a preset among {', '.join(PRESETS)}; names among {', '.join(kind.model_fields)}",
            fix='correct these; a file has lines such as epochs = 20 and encoder = "resnet18"',
        )
    return config


def _read(file: Path) -> tuple[dict[str, Any], list[str]]:
    """The file's values, or what is wrong with it."""
    import yaml  # a file is rare

    try:
        text = file.read_text("utf-8-sig")
        values = yaml.safe_load(text) if file.suffix in {".yaml", ".yml"} else tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        return {}, [f"the file cannot be read: {error}"]
    if values is None:
        return {}, []
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        return {}, ["the file holds no names with values"]
    return values, []
