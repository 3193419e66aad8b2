"""The shards of several surveys as one set, for a model that learns them together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gzflow.durable import write_json
from gzflow.errors import ShardError
from gzflow.recipe import ImageRecipe
from gzflow.shards.header import ShardEntry, Split
from gzflow.shards.reader import ShardReader, ShardSet
from gzflow.tree import DecisionTree, joint_name

JOINT = "joint.json"
"""In a folder, names those of the sets."""


class JointSet(ShardSet):
    """Several surveys' sets, one after the other, under a tree that holds all their questions.

    Votes of a galaxy are 0 for the questions of other surveys. Images may be made by several recipes, as long as their
    channels and pixels are the same. A galaxy that two surveys show is there twice, in the same split of both, since
    splits follow the sky.

    Parameters
    ----------
    folder
        Where `save` writes which sets they are.
    parts
        Two or more; brought into the order of the surveys' names.

    Raises
    ------
    ShardError
        With all reasons: fewer than two, a survey twice, other channels or pixels.
    """

    def __init__(self, folder: Path, parts: Sequence[ShardSet]) -> None:
        self.folder = Path(folder)
        self._parts = tuple(sorted(parts, key=lambda part: part.survey))
        surveys = [part.survey for part in self._parts]
        problems = [f"survey {name} stands twice" for name in sorted(set(surveys)) if surveys.count(name) > 1]
        if len(surveys) < 2:
            problems.append(f"{len(surveys)} survey")
        shapes = {part.survey: f"{part.recipe.channels} images of {part.recipe.pixels} px" for part in self._parts}
        if len(set(shapes.values())) > 1:
            problems += [f"{name}: {shape}" for name, shape in shapes.items()]
        if problems:
            raise ShardError(
                "these sets of shards cannot be learnt together",
                where=", ".join(str(part.folder) for part in self._parts),
                problems=problems,
                expected="two or more surveys, with the same channels and pixels",
                fix="name each survey once; make shards of one size with `gzflow shard SURVEY --pixels`",
            )

    def save(self) -> None:
        """Write down which sets they are, for `open_shards`."""
        sets = [{"folder": str(part.folder.absolute()), "fingerprint": part.fingerprint} for part in self._parts]
        write_json(self.folder / JOINT, {"sets": sets})

    @property
    def parts(self) -> tuple[ShardSet, ...]:
        """The surveys' own sets, by name."""
        return self._parts

    @property
    def survey(self) -> str:
        """What the surveys are called together."""
        return joint_name(part.survey for part in self._parts)

    @cached_property
    def tree(self) -> DecisionTree:
        """All questions, named ``{survey}.{question}``."""
        return DecisionTree.joined({part.survey: part.tree for part in self._parts})

    @property
    def recipe(self) -> ImageRecipe:
        """That of the first survey; the others' have its channels and pixels."""
        return self._parts[0].recipe

    @property
    def fingerprint(self) -> str:
        """32 hex digits of the sets' fingerprints."""
        text = json.dumps([[part.survey, part.fingerprint] for part in self._parts])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def entries(self, split: Split | None = None) -> tuple[ShardEntry, ...]:
        """Entries of one split, or of all, survey after survey."""
        return tuple(entry for part in self._parts for entry in part.entries(split))

    def reader(self, entry: ShardEntry) -> ShardReader:
        """A reader of one shard of any of the sets."""
        return next(part for part in self._parts if entry in part.entries()).reader(entry)

    def readers(self, split: Split | None = None) -> list[ShardReader]:
        """Readers of one split, or of all, survey after survey."""
        return [reader for part in self._parts for reader in part.readers(split)]

    def votes(self, split: Split | None = None) -> NDArray[np.int32]:
        """(n, n_answers) votes, in the order of `readers`; 0 in the columns of other surveys."""
        votes = np.zeros((self.n(split), len(self.tree.answers)), np.int32)
        row = column = 0
        for part in self._parts:
            own = part.votes(split)
            votes[row : row + len(own), column : column + own.shape[1]] = own
            row, column = row + len(own), column + own.shape[1]
        return votes


def open_shards(folder: Path) -> ShardSet:
    """The set in `folder`, or the joint one of the sets that it names.

    Raises
    ------
    ShardError
        None that is whole (see `ShardSet.open`), or other shards lie where the named ones were.
    """
    path = Path(folder) / JOINT
    if not path.is_file():
        return ShardSet.open(folder)
    named = json.loads(path.read_text("utf-8"))["sets"]
    parts = [ShardSet.open(Path(one["folder"])) for one in named]
    problems = [
        f"{part.folder}: fingerprint {part.fingerprint} instead of {one['fingerprint']}"
        for part, one in zip(parts, named, strict=True)
        if part.fingerprint != one["fingerprint"]
    ]
    if problems:
        raise ShardError(
            "sets of shards were written anew since they were joined",
            where=str(path),
            problems=problems,
            fix="train on them as they are now: run `gzflow train` with all surveys' names again",
        )
    return JointSet(Path(folder), parts)
