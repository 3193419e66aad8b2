"""One shard, read at random at the speed of memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from gzflow.errors import ShardError
from gzflow.shards.codec import decode_jpeg
from gzflow.shards.content import ContentHash
from gzflow.shards.header import FORMAT_VERSION, ShardEntry, ShardHeader

Rows = slice | Sequence[int] | NDArray[np.integer[Any]]


class ShardReader:
    """One shard.

    Nothing is opened before it is needed, and no HDF5 handle outlives a call: pixels come from a memory map of the
    contiguous dataset. So a reader may be forked into and pickled to loader workers, and thousands may exist.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    ShardError
        On first use: not there, not a shard, of another format version, or ending early.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def __len__(self) -> int:
        return len(self.votes)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}  # a pickled memory map would be the whole file

    def __repr__(self) -> str:
        return f"ShardReader({str(self.path)!r})"

    @cached_property
    def header(self) -> ShardHeader:
        """What the shard says about itself."""
        return _header(self._attributes, self.path)

    @property
    def fingerprint(self) -> str:
        """Content fingerprint as its writer took it; `verify` takes it anew."""
        return str(self._attributes.get("fingerprint", ""))

    @cached_property
    def ids(self) -> list[str]:
        """N distinct strings."""
        with self._opened() as file:
            return [name.decode() for name in file["id_str"][()].tolist()]

    @cached_property
    def votes(self) -> NDArray[np.int32]:
        """(n, n_answers) votes, in the order of ``tree.answers``."""
        return self._column("votes")

    @cached_property
    def ra(self) -> NDArray[np.float64]:
        """(n,) degrees, NaN where unknown."""
        return self._column("ra")

    @cached_property
    def dec(self) -> NDArray[np.float64]:
        """(n,) degrees, NaN where unknown."""
        return self._column("dec")

    @cached_property
    def pixscale(self) -> NDArray[np.float64]:
        """(n,) arcsec per pixel of the images as they are here, NaN where unknown."""
        return self._column("pixscale")

    def images(self, rows: Rows) -> NDArray[np.uint8]:
        """(k, H, W, C) uint8 pixels of the given galaxies, in the given order, in memory of their own.

        Parameters
        ----------
        rows
            Positions in the shard, negative ones from the end; or a slice, which reads sequentially.

        Raises
        ------
        IndexError
            A position that the shard does not have.
        """
        if self.header.codec == "raw":
            return self._pixels[rows] if not isinstance(rows, slice) else self._pixels[rows].copy()
        positions = np.arange(len(self))[rows]
        pixels = np.empty((len(positions), *self.header.image_shape), np.uint8)
        for k, position in enumerate(positions):
            pixels[k] = self._decoded(int(position))
        return pixels

    def verify(self) -> None:
        """Read everything and compare it with the fingerprint that its writer took.

        Raises
        ------
        ShardError
            The file was damaged or changed after it was written.
        """
        digest = ContentHash(self.header)
        digest.columns(self.ids, self.ra, self.dec, self.pixscale, self.votes)
        for i in range(len(self)):
            digest.image(self._pixels[i] if self.header.codec == "raw" else self._jpeg(i))
        if digest.hexdigest() != self.fingerprint:
            raise ShardError(
                "the shard's content is not what was written",
                where=str(self.path),
                expected=f"fingerprint {self.fingerprint}, found {digest.hexdigest()}",
                fix="delete this file and run `gzflow shard` again: the other shards are kept",
            )

    def entry(self) -> ShardEntry:
        """The shard's line of a manifest, from its own attributes; pixels are not read."""
        return ShardEntry(
            file=self.path.name,
            split=self.header.split,
            n=len(self),
            bytes=self.path.stat().st_size,
            fingerprint=self.fingerprint,
            source_fingerprint=self.header.source_fingerprint,
        )

    @contextmanager
    def _opened(self) -> Iterator[h5py.File]:
        # A shard never changes, so HDF5's file locks (which some network file systems refuse) protect nothing.
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                yield file
        except (OSError, KeyError, RuntimeError, UnicodeDecodeError) as error:  # what damage looks like in h5py
            missing = not self.path.exists()
            raise ShardError(
                "there is no such shard" if missing else "the file is no whole shard",
                where=f"{self.path}: {error}",
                expected="an HDF5 file as `gzflow shard` writes it",
                fix="delete it if it is damaged, and run `gzflow shard` again: the other shards are kept",
            ) from error

    @cached_property
    def _attributes(self) -> dict[str, Any]:
        with self._opened() as file:
            return {name: value.decode() if isinstance(value, bytes) else value for name, value in file.attrs.items()}

    def _column(self, name: str) -> NDArray[Any]:
        with self._opened() as file:
            return file[name][()]

    @cached_property
    def _pixels(self) -> NDArray[np.uint8]:
        """The ``images`` dataset as a read-only memory map."""
        with self._opened() as file:
            images = file["images"]
            offset, shape = images.id.get_offset(), images.shape
            if offset is None:
                return images[()]  # repacked by somebody else's tool: no place in the file that could be mapped
        return np.asarray(np.memmap(self.path, np.uint8, "r", offset, shape))

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        return self._column("image_offsets")

    def _jpeg(self, position: int) -> NDArray[np.uint8]:
        return self._pixels[self._offsets[position] : self._offsets[position + 1]]

    def _decoded(self, position: int) -> NDArray[np.uint8]:
        pixels = decode_jpeg(self._jpeg(position), self.header.recipe.n_channels)
        if pixels is None or pixels.shape != self.header.image_shape:
            raise ShardError(
                "an image in the shard does not decode",
                where=f"{self.path}, galaxy {self.ids[position]!r}",
                fix="the file is damaged: delete it and run `gzflow shard` again",
            )
        return pixels


def reusable(path: Path, header: ShardHeader) -> ShardEntry | None:
    """The entry of a finished shard of this very header and so of this source; None if it must be written."""
    if not path.is_file():
        return None
    reader = ShardReader(path)
    try:
        return reader.entry() if reader.header == header else None
    except ShardError:
        return None  # damaged or of an older format: written anew


def _header(attributes: dict[str, Any], path: Path) -> ShardHeader:
    version = attributes.get("format_version")
    if version is not None and int(version) != FORMAT_VERSION:
        raise ShardError(
            f"the shard has format version {int(version)}",
            where=str(path),
            expected=f"format version {FORMAT_VERSION}",
            fix="run `gzflow shard` again with this version of gzflow",
        )
    try:
        return ShardHeader(
            format_version=int(attributes["format_version"]),
            survey=attributes["survey"],
            tree=json.loads(attributes["tree"]),
            recipe=json.loads(attributes["image_recipe"]),
            codec=attributes["codec"],
            split=attributes["split"],
            source_fingerprint=attributes["source_fingerprint"],
        )
    except (KeyError, ValueError, ValidationError) as error:
        raise ShardError(
            "the HDF5 file is no gzflow shard",
            where=f"{path}: {error!r}",
            expected="attributes format_version, survey, tree, image_recipe, codec, split, source_fingerprint",
            fix="name a folder that `gzflow shard` wrote",
        ) from error
