"""A finished set of shards, opened only when all of it is there and agrees."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from gzflow.errors import ShardError
from gzflow.recipe import ImageRecipe
from gzflow.shards.header import FORMAT_VERSION, MANIFEST, SPLITS, Manifest, ShardEntry, Split, set_fingerprint
from gzflow.shards.shard_file import ShardReader
from gzflow.tree import DecisionTree

__all__ = ["ShardReader", "ShardSet"]


class ShardSet:
    """The shards of one survey at one size; get one by `ShardSet.open`.

    Attributes
    ----------
    folder
        Where the shards and the manifest lie.
    manifest
        What the set says about itself.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    def __repr__(self) -> str:
        return f"ShardSet({str(self.folder)!r}, {self.survey!r}, {self.n()} galaxies)"

    @classmethod
    def open(cls, folder: Path) -> ShardSet:
        """The set in `folder`, if it is finished and whole.

        Headers and sizes are compared, pixels are not read; `verify` does that.

        Raises
        ------
        ShardError
            With all problems at once: no manifest, missing or changed shards, shards that disagree with the manifest.
        """
        folder = Path(folder)
        manifest = _manifest(folder)
        problems = [problem for entry in manifest.entries for problem in _entry_problems(folder, manifest, entry)]
        if set_fingerprint(manifest.entries) != manifest.fingerprint:
            problems.append(f"{MANIFEST}: its fingerprint is not that of its entries")
        problems += [
            f"{MANIFEST}: counts say {manifest.counts.get(split)} {split} galaxies, its shards hold {n}"
            for split in SPLITS
            if (n := sum(entry.n for entry in manifest.entries if entry.split == split)) != manifest.counts.get(split)
        ]
        if problems:
            raise ShardError(
                "the set of shards is not whole",
                where=str(folder),
                problems=problems,
                expected=f"{len(manifest.entries)} shards as {MANIFEST} lists them",
                fix=f"delete these shards and run `gzflow shard {manifest.survey}` again: the others are kept",
            )
        return cls(folder, manifest)

    @property
    def parts(self) -> tuple[ShardSet, ...]:
        """The sets of single surveys that it consists of: itself."""
        return (self,)

    @property
    def survey(self) -> str:
        """Name of the survey."""
        return self.manifest.survey

    @cached_property
    def tree(self) -> DecisionTree:
        """The decision tree behind the votes' columns."""
        return self.manifest.decision_tree

    @property
    def recipe(self) -> ImageRecipe:
        """How the images were made."""
        return self.manifest.recipe

    @property
    def fingerprint(self) -> str:
        """32 hex digits of ids, positions, votes, pixels and splits; independent of file names and times."""
        return self.manifest.fingerprint

    def entries(self, split: Split | None = None) -> tuple[ShardEntry, ...]:
        """Entries of one split, or of all."""
        return tuple(entry for entry in self.manifest.entries if split in {None, entry.split})

    def n(self, split: Split | None = None) -> int:
        """Number of galaxies."""
        return sum(entry.n for entry in self.entries(split))

    def reader(self, entry: ShardEntry) -> ShardReader:
        """A reader of one shard; nothing is opened yet."""
        return ShardReader(self.folder / entry.file)

    def readers(self, split: Split | None = None) -> list[ShardReader]:
        """Readers of one split, or of all, in the manifest's order."""
        return [self.reader(entry) for entry in self.entries(split)]

    def ids(self, split: Split | None = None) -> list[str]:
        """(n,) ids, in the order of `readers`."""
        return [name for reader in self.readers(split) for name in reader.ids]

    def votes(self, split: Split | None = None) -> NDArray[np.int32]:
        """(n, n_answers) votes, in the order of `readers`."""
        parts = [reader.votes for reader in self.readers(split)]
        return np.concatenate([np.zeros((0, len(self.tree.answers)), np.int32), *parts])

    def verify(self, *, on_shard: Callable[[ShardEntry], None] | None = None) -> None:
        """Read every byte of every shard, on all cores, and compare with the fingerprints.

        Parameters
        ----------
        on_shard
            Called in the caller's thread after each shard, damaged or not.

        Raises
        ------
        ShardError
            Naming all damaged shards.
        """

        def problem(entry: ShardEntry) -> str | None:
            try:
                self.reader(entry).verify()
            except ShardError as error:
                return f"{entry.file}: {error.what}"
            return None

        problems = []
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)), "verify-shards") as pool:
            for entry, found in zip(self.entries(), pool.map(problem, self.entries()), strict=True):
                problems += [found] if found else []
                if on_shard is not None:
                    on_shard(entry)
        if problems:
            raise ShardError(
                "shards are damaged",
                where=str(self.folder),
                problems=problems,
                fix=f"delete them and run `gzflow shard {self.survey}` again: the other shards are kept",
            )


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        lying = len(list(folder.glob("*.h5"))) if folder.is_dir() else 0
        raise ShardError(
            "the set of shards is unfinished" if lying else "there is no set of shards",
            where=str(folder),
            expected=f"{MANIFEST}, written when all shards are; {lying} shards lie there without it",
            fix="run `gzflow shard SURVEY`: it keeps finished shards and writes the rest",
        )
    try:
        document = json.loads(path.read_text("utf-8"))
        version = document.get("format_version") if isinstance(document, dict) else None
        if version is not None and version != FORMAT_VERSION:
            raise ShardError(
                f"the set of shards has format version {version}",
                where=str(path),
                expected=f"format version {FORMAT_VERSION}",
                fix="run `gzflow shard` again with this version of gzflow",
            )
        return Manifest.model_validate(document)
    except (ValueError, ValidationError) as error:
        raise ShardError(
            "the manifest cannot be read",
            where=f"{path}: {error}",
            expected="the file as `gzflow shard` wrote it",
            fix="delete it and run `gzflow shard` again: finished shards are kept",
        ) from error


def _entry_problems(folder: Path, manifest: Manifest, entry: ShardEntry) -> list[str]:
    path = folder / entry.file
    if not path.is_file():
        return [f"{entry.file} is missing"]
    if (size := path.stat().st_size) != entry.bytes:
        return [f"{entry.file} has {size} bytes instead of {entry.bytes}"]
    reader = ShardReader(path)
    try:
        problems = reader.header.differences(manifest)
        if reader.header.split != entry.split:
            problems.append(f"split: {reader.header.split!r} here, {entry.split!r} there")
        if reader.fingerprint != entry.fingerprint:
            problems.append(f"content fingerprint: {reader.fingerprint} here, {entry.fingerprint} there")
    except ShardError as error:
        return [f"{entry.file}: {error.what}"]
    return [f"{entry.file} is not as the manifest says: {problem}" for problem in problems]
