"""Random reads of galaxies from shards, against decoding the same pixels from loose PNG and JPEG files.

Simulated galaxies (a smooth disk, a nucleus, sky noise) are written four ways: PNG and JPEG files, a raw shard, a JPEG
shard. Each way is then read in the same random order, on one core, from the page cache; the pixels are asserted to be
those of the PNG (raw) and of the JPEG files (JPEG shard).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
from numpy.typing import NDArray
from timing import machine, median_seconds

from gzflow.recipe import ImageRecipe
from gzflow.shards import ShardHeader, ShardReader, write_shard
from gzflow.shards.codec import encode_jpeg
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree((Question("ring", ("yes", "no")),))
BATCH = 64


def galaxies(n: int, pixels: int, seed: int = 42) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : pixels * 1j, -1 : 1 : pixels * 1j]
    images = np.empty((n, pixels, pixels, 3), np.uint8)
    for image in images:
        q, angle, size = rng.uniform(0.2, 1), rng.uniform(0, np.pi), rng.uniform(0.05, 0.3)
        r = np.hypot(x * np.cos(angle) + y * np.sin(angle), (y * np.cos(angle) - x * np.sin(angle)) / q)
        light = 160 * np.exp(-r / size)[..., None] * rng.uniform(0.6, 1, 3) + 20
        image[:] = np.clip(light + rng.normal(0, 6, (pixels, pixels, 3)), 0, 255)
    return images


def shard(folder: Path, codec: str, images: NDArray[np.uint8]) -> ShardReader:
    n, pixels = images.shape[:2]
    header = ShardHeader(
        survey="bench", tree=TREE.to_dict(), recipe=ImageRecipe(pixels=pixels), split="train", codec=codec
    )
    write_shard(
        folder / f"{codec}.h5",
        header,
        images=images if codec == "raw" else [encode_jpeg(image) for image in images],
        votes=np.ones((n, 2), np.int32),
        ids=[str(i) for i in range(n)],
        ra=np.full(n, np.nan),
        dec=np.full(n, np.nan),
        pixscale=np.full(n, 0.262),
    )
    return ShardReader(folder / f"{codec}.h5")


def loose(folder: Path, images: NDArray[np.uint8]) -> None:
    for i, image in enumerate(images):
        cv2.imwrite(str(folder / f"{i}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        (folder / f"{i}.jpg").write_bytes(encode_jpeg(image))


def read_loose(folder: Path, i: int, ending: str) -> NDArray[np.uint8]:
    return cv2.imdecode(np.fromfile(folder / f"{i}.{ending}", np.uint8), cv2.IMREAD_COLOR_RGB)


def batches(order: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return (order[start : start + BATCH] for start in range(0, len(order), BATCH))


def each(read: Callable[[Any], object], places: Iterable[Any]) -> None:
    for place in places:
        read(place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--galaxies", type=int, default=1000)
    parser.add_argument("--pixels", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    images = galaxies(options.galaxies, options.pixels)
    order = np.random.default_rng(0).permutation(options.galaxies)
    print(machine())
    print(f"{options.galaxies:,} galaxies of {options.pixels} px, random order, one core, page cache")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loose(folder, images)
        raw, jpeg = shard(folder, "raw", images), shard(folder, "jpeg", images)
        for i in order[:50]:
            np.testing.assert_array_equal(raw.images([i])[0], read_loose(folder, i, "png"))
            np.testing.assert_array_equal(jpeg.images([i])[0], read_loose(folder, i, "jpg"))
        with h5py.File(raw.path) as file:
            dataset = file["images"]
            ways: dict[str, Callable[[], object]] = {
                "loose PNG files": lambda: each(lambda i: read_loose(folder, i, "png"), order),
                "loose JPEG files": lambda: each(lambda i: read_loose(folder, i, "jpg"), order),
                "JPEG shard, one by one": lambda: each(lambda i: jpeg.images([i]), order),
                "raw shard, plain h5py": lambda: each(lambda i: dataset[i], order),
                "raw shard, one by one": lambda: each(lambda i: raw.images([i]), order),
                "raw shard, batches of 64": lambda: each(raw.images, batches(order)),
                "raw shard, in sequence": lambda: each(
                    lambda batch: raw.images(slice(batch[0], batch[-1] + 1)), batches(np.sort(order))
                ),
            }
            rates = {way: options.galaxies / median_seconds(call, options.repeats) for way, call in ways.items()}
    for way, rate in rates.items():
        print(
            f"{way:<26} {rate:>9,.0f} images/s   {rate / rates['loose PNG files']:>6.1f} x PNG   "
            f"{rate / rates['loose JPEG files']:>6.1f} x JPEG"
        )


if __name__ == "__main__":
    main()
