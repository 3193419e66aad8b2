"""The images of one shard: read, proved to be those that were ingested, decoded and resized on every core."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gzflow.cutouts.archives import ImagePlace, read_image
from gzflow.cutouts.picture import read_picture
from gzflow.cutouts.resample import resample
from gzflow.errors import ChangedImage, CutoutError
from gzflow.recipe import ImageRecipe
from gzflow.shards.codec import encode_jpeg
from gzflow.shards.header import Codec


@dataclass(frozen=True, slots=True)
class IngestedImage:
    """Where the image of a galaxy lies, and the checksum that it had when it was ingested."""

    id_str: str
    place: ImagePlace
    sha256: str


def shard_images(
    images: Sequence[IngestedImage], recipe: ImageRecipe, codec: Codec
) -> list[NDArray[np.uint8] | bytes | CutoutError]:
    """For each image what a shard holds of it, or why there is nothing, in the given order.

    Reading, checksums, decoding, resizing and encoding all leave the interpreter's lock, so threads use every core
    that this process may run on.

    Returns
    -------
    (recipe.pixels, recipe.pixels, recipe.n_channels) uint8 arrays; JPEG bytes of them with codec jpeg.
    """

    def one(image: IngestedImage) -> NDArray[np.uint8] | bytes | CutoutError:
        try:
            pixels = resample(_pixels(image, recipe), recipe)
        except CutoutError as error:
            return error
        return encode_jpeg(pixels) if codec == "jpeg" else pixels

    with ThreadPoolExecutor(len(os.sched_getaffinity(0)), "shard-images") as pool:
        return list(pool.map(one, images))


def _pixels(image: IngestedImage, recipe: ImageRecipe) -> NDArray[np.uint8]:
    what = f"galaxy {image.id_str}: {image.place}"
    content = read_image(image.place)
    if hashlib.sha256(content).hexdigest() != image.sha256:
        raise ChangedImage(
            "the image is not the one that was ingested",
            where=what,
            expected=f"SHA-256 {image.sha256}",
            fix="run `gzflow ingest` again with --images: changed files are looked at anew",
        )
    return read_picture(content, what=what, recipe_name=recipe.name)
