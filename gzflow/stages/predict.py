"""Predict: one model version, pinned, over all shards of a survey, part by part."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gzflow.stages.counts import Counts

logger = logging.getLogger(__name__)

PIN = "run.json"
"""Written before the first part: which model this run is about."""


@dataclass(frozen=True)
class PredictOptions:
    """What to predict, and with what.

    Attributes
    ----------
    survey
        Shipped name or path of a TOML; its shards are predicted.
    pixels
        Which of its shard sets; None is the only one.
    model
        Version number or ``models:/`` URI; None is the survey's champion.
    samples, seed
        Dropout samples a galaxy, and what decides them.
    allow_recipe_mismatch
        Predict on images made another way than the model's; every row says so.
    keep_concentrations
        Write every sample's concentrations as well.
    fresh
        Leave an unfinished run of another model version where it is and begin anew.
    """

    survey: str
    pixels: int | None = None
    model: str | None = None
    samples: int = 20
    seed: int = 42
    allow_recipe_mismatch: bool = False
    keep_concentrations: bool = False
    fresh: bool = False


@dataclass(frozen=True)
class PredictChunk:
    """One shard, which becomes one part."""

    shard: str
    part: str
    model_folder: str
    samples: int
    seed: int
    keep_concentrations: bool
    metadata: Mapping[str, str]
    n: int


@dataclass(frozen=True)
class PredictPlan:
    """A pinned run."""

    survey: str
    shards: str
    folder: str
    pinned: Mapping[str, Any]
    chunks: tuple[PredictChunk, ...]
    n_galaxies: int


@dataclass(frozen=True)
class PredictSummary:
    """A finished catalogue.

    Attributes
    ----------
    folder
        Holds ``part-*.parquet`` and ``manifest.json``.
    gallery
        Picture of the top galaxies by answer; None where the survey's images may not be shown.
    """

    survey: str
    folder: Path
    counts: Counts
    model: str
    version: str
    run_id: str
    gallery: Path | None

    def sentence(self) -> str:
        """One line for people."""
        return f"{self.counts.done:,} galaxies predicted by {self.model} version {self.version}: {self.folder}"
