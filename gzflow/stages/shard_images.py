"""The images of one shard: read, proved to be those that were ingested, decoded and resized on every core."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gzflow.cutouts.archives import ImagePlace, read_image
from gzflow.cutouts.picture import read_picture
from gzflow.cutouts.resample import resample
from gzflow.errors import ChangedImage, CutoutError
from gzflow.recipe import ImageRecipe
from gzflow.shards.codec import encode_jpeg
from gzflow.shards.header import Codec

_Made: TypeAlias = NDArray[np.uint8] | bytes | CutoutError

_turn = Lock()
_GROUP = 8
"""Images a task: handing single ones to threads costs a few per cent."""


@dataclass(frozen=True, slots=True)
class IngestedImage:
    """Where the image of a galaxy lies, and the checksum that it had when it was ingested."""

    id_str: str
    place: ImagePlace
    sha256: str


class ShardImages:
    """What a shard holds of each image, made a few ahead of whoever takes them; close it, however that ends.

    Reading, checksums, decoding, resizing and encoding all leave the interpreter's lock, so threads use every core that
    this process may run on. One shard's images at a time: the cores work on the next shard while the disk is given the
    last.

    Iterating gives (recipe.pixels, recipe.pixels, recipe.n_channels) uint8 arrays, with codec jpeg the JPEG bytes of
    them, in the order of `images`; it raises the CutoutError of the first that cannot be used.
    """

    def __init__(self, images: Sequence[IngestedImage], recipe: ImageRecipe, codec: Codec) -> None:
        self._n = len(images)
        self._made = _ahead(images, recipe, codec)

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[NDArray[np.uint8] | bytes]:
        for group in self._made:
            for made in group:
                if isinstance(made, CutoutError):
                    raise made
                yield made

    def close(self) -> None:
        """Let the cores go."""
        self._made.close()


def unusable(images: Sequence[IngestedImage], recipe: ImageRecipe) -> dict[str, CutoutError]:
    """Why images cannot be in a shard, by galaxy; the others are not mentioned."""
    groups = _ahead(images, recipe, "raw")
    made = (one for group in groups for one in group)
    return {image.id_str: one for image, one in zip(images, made, strict=True) if isinstance(one, CutoutError)}


def _ahead(images: Sequence[IngestedImage], recipe: ImageRecipe, codec: Codec) -> Generator[list[_Made], None, None]:
    threads = len(os.sched_getaffinity(0))
    waiting: deque[Future[list[_Made]]] = deque()
    with _turn, ThreadPoolExecutor(threads, "shard-images") as pool:
        for start in range(0, len(images), _GROUP):
            waiting.append(pool.submit(_made, images[start : start + _GROUP], recipe, codec))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _made(images: Iterable[IngestedImage], recipe: ImageRecipe, codec: Codec) -> list[_Made]:
    return [_one(image, recipe, codec) for image in images]


def _one(image: IngestedImage, recipe: ImageRecipe, codec: Codec) -> _Made:
    what = f"galaxy {image.id_str}: {image.place}"
    try:
        content = read_image(image.place, checksum=False)
        if hashlib.sha256(content).hexdigest() != image.sha256:
            raise ChangedImage(
                "the image is not the one that was ingested",
                where=what,
                expected=f"SHA-256 {image.sha256}",
                fix="run `gzflow ingest` again with --images: changed files are looked at anew",
            )
        pixels = resample(read_picture(content, what=what, recipe_name=recipe.name), recipe)
    except CutoutError as error:
        return error
    return encode_jpeg(pixels) if codec == "jpeg" else pixels
