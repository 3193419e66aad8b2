"""What a shard and a set of shards say about themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gzflow.errors import SurveyError
from gzflow.recipe import ImageRecipe
from gzflow.tree import DecisionTree

FORMAT_VERSION = 1
SHARD_SIZE = 4096
"""Most galaxies in one shard: 1.1 GB of raw 300 px colour images."""
MANIFEST = "manifest.json"

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Codec = Literal["raw", "jpeg"]


class SetHeader(BaseModel):
    """What all shards of a set have in common.

    Attributes
    ----------
    survey
        Name of the survey whose volunteers voted.
    tree
        Its decision tree, as `DecisionTree.to_dict` writes it; the votes' columns follow it.
    recipe
        How the images were made; side and channels of the arrays.
    codec
        ``raw`` pixels, or ``jpeg`` bytes decoded at each read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    survey: str
    tree: list[dict[str, Any]]
    recipe: ImageRecipe
    codec: Codec = "raw"

    @field_validator("tree")
    @classmethod
    def _is_a_tree(cls, tree: list[dict[str, Any]]) -> list[dict[str, Any]]:
        try:
            DecisionTree.from_dict(tree)
        except (SurveyError, KeyError, TypeError) as error:
            raise ValueError(f"the questions do not form a decision tree: {error!r}") from error
        return tree

    @cached_property
    def decision_tree(self) -> DecisionTree:
        """The tree as a validated value."""
        return DecisionTree.from_dict(self.tree)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one image."""
        return self.recipe.pixels, self.recipe.pixels, self.recipe.n_channels

    def differences(self, other: SetHeader) -> list[str]:
        """One sentence for each thing in which two headers differ; empty when their shards may form one set."""
        problems = [
            f"{key}: {getattr(self, key)!r} here, {getattr(other, key)!r} there"
            for key in ("survey", "codec")
            if getattr(self, key) != getattr(other, key)
        ]
        if self.tree != other.tree:
            problems.append(
                f"tree: fingerprint {self.decision_tree.fingerprint} here, {other.decision_tree.fingerprint} there"
            )
        return problems + [f"image recipe: {problem}" for problem in self.recipe.differences(other.recipe)]


class ShardHeader(SetHeader):
    """The attributes of one shard file.

    Attributes
    ----------
    split
        Every galaxy of a shard belongs to the same split.
    source_fingerprint
        Whatever decides the shard's content, hashed by the stage that writes it: catalog rows, image bytes, options.
        A rerun keeps a finished shard only if this is unchanged.
    format_version
        Of the file's layout.
    """

    split: Split
    source_fingerprint: str = ""
    format_version: int = FORMAT_VERSION


class ShardEntry(BaseModel):
    """One line of a manifest.

    Attributes
    ----------
    file
        Bare file name in the set's folder.
    split, source_fingerprint
        As in the shard's header.
    n
        Galaxies.
    bytes
        Size of the file.
    fingerprint
        blake2b of ids, positions, votes and images; independent of file names and times.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Annotated[str, Field(pattern=r"^[\w][\w.-]*\.h5$")]
    split: Split
    n: Annotated[int, Field(ge=1, le=SHARD_SIZE)]
    bytes: Annotated[int, Field(ge=1)]
    fingerprint: str
    source_fingerprint: str = ""


class Manifest(SetHeader):
    """Closes a set of shards: written last, it lists every shard.

    Attributes
    ----------
    entries
        The shards, in order.
    counts
        Galaxies per split, and what the stage adds: failed, filtered.
    notes
        Sentences a reader of results should know, as "the split was forced".
    survey_info
        Citation, licence, acknowledgement and image rights, passed on from the survey.
    fingerprint
        Hash of the entries' fingerprints and splits.
    created_by
        The gzflow that wrote it.
    """

    format_version: int = FORMAT_VERSION
    created_by: str
    entries: tuple[ShardEntry, ...]
    counts: dict[str, int]
    notes: tuple[str, ...] = ()
    survey_info: dict[str, Any] = {}
    fingerprint: str


def set_fingerprint(entries: Iterable[ShardEntry]) -> str:
    """32 hex digits that change whenever a galaxy, vote, pixel or split of the set does, and with nothing else."""
    text = json.dumps([[entry.split, entry.fingerprint] for entry in entries])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
