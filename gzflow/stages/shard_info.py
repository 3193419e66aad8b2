"""What a set of shards holds, for people: counts, sizes, and what its manifest says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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

    Raises
    ------
    ShardError
        No set, several, or one that is not whole.
    UnknownSurvey
        Neither a folder nor a survey.
    """
    if Path(name).is_dir():
        return ShardSet.open(Path(name))
    return find_shards(load_survey(name).name, pixels, settings)


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
