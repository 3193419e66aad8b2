"""What a set of shards holds, for people: counts, sizes, and what its manifest says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gzflow.errors import ShardError, UnknownSurvey
from gzflow.settings import Settings
from gzflow.shards.header import SPLITS, Manifest, Split
from gzflow.shards.reader import ShardSet
from gzflow.stages.shard_sets import find_shards
from gzflow.surveys import load_survey


@dataclass(frozen=True)
class SplitInfo:
    """One split of a set.

    Attributes
    ----------
    placed
        Galaxies with a position.
    voted
        Galaxies with a vote; the others can be predicted, and teach nothing.
    votes
        Over all galaxies and answers.
    """

    shards: int
    galaxies: int
    bytes: int
    placed: int
    voted: int
    votes: int


@dataclass(frozen=True)
class ShardSetInfo:
    """A whole set: its manifest, and what its columns add up to."""

    folder: Path
    manifest: Manifest
    splits: Mapping[Split, SplitInfo]


def open_shards(name: str, pixels: int | None, settings: Settings) -> ShardSet:
    """The set in a folder or, where there is no folder of that name, the set of a survey.

    A survey may be named as `gzflow status` does, without its TOML.

    Parameters
    ----------
    pixels
        Which set of the survey; a folder's set must be of that size.

    Raises
    ------
    ShardError
        Neither a folder nor a survey, no set, several, one of another size, or one that is not whole.
    """
    if Path(name).is_dir():
        shards = ShardSet.open(Path(name))
        if pixels not in {None, shards.recipe.pixels}:
            raise ShardError(
                f"the set in this folder has images of {shards.recipe.pixels} px, not of {pixels}",
                where=name,
                fix="leave --pixels out: it chooses between the sets of a survey",
            )
        return shards
    if Path(name).name == name and (settings.home / "shards" / name).is_dir():
        return find_shards(name, pixels, settings)
    try:
        return find_shards(load_survey(name).name, pixels, settings)
    except UnknownSurvey as error:
        raise ShardError(
            f"{name!r} is neither a folder nor a survey",
            where=str(settings.home / "shards"),
            expected="the folder of a set of shards, a survey's name as `gzflow status` says it, or its TOML",
            fix="correct the name, or look at `gzflow status`",
        ) from error


def shard_info(shards: ShardSet) -> ShardSetInfo:
    """Counts by split; images are not read."""
    splits = {}
    for split in SPLITS:
        readers, entries = shards.readers(split), shards.entries(split)
        votes = shards.votes(split)
        splits[split] = SplitInfo(
            shards=len(entries),
            galaxies=shards.n(split),
            bytes=sum(entry.bytes for entry in entries),
            placed=sum(int(np.isfinite(reader.ra).sum()) for reader in readers),
            voted=int((votes.sum(axis=1) > 0).sum()),
            votes=int(votes.sum(dtype=np.int64)),
        )
    return ShardSetInfo(shards.folder, shards.manifest, splits)
