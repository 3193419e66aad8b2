"""Reads of galaxies from shards, against decoding the same pixels from loose files and from a tar of JPEG files.

Simulated galaxies (a smooth disk, a nucleus, sky noise) are written five ways: PNG and JPEG files, a raw shard, JPEG
shards of several qualities, and a tar of JPEG files as WebDataset streams them. Each is then read on one core from the
page cache, in the same random order but for what says "in sequence"; a tar has no other order. The pixels are asserted
to be those of the PNG (raw) and of the JPEG files (JPEG shard, tar). The table ends with bytes a galaxy, and how far
JPEG moves the pixels.
"""

from __future__ import annotations

import argparse
import tarfile
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
QUALITIES = (85, 95, 98)
"""Shards are written with 95."""


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


def shard(folder: Path, codec: str, images: NDArray[np.uint8], quality: int = 95) -> ShardReader:
    path = folder / f"{codec}-{quality}.h5"
    n, pixels = images.shape[:2]
    header = ShardHeader(
        survey="bench", tree=TREE.to_dict(), recipe=ImageRecipe(pixels=pixels), split="train", codec=codec
    )
    write_shard(
        path,
        header,
        images=images if codec == "raw" else [encode_jpeg(image, quality) for image in images],
        votes=np.ones((n, 2), np.int32),
        ids=[str(i) for i in range(n)],
        ra=np.full(n, np.nan),
        dec=np.full(n, np.nan),
        pixscale=np.full(n, 0.262),
    )
    return ShardReader(path)


def tar(folder: Path, n: int) -> Path:
    """The loose JPEG files in one tar, in their order."""
    with tarfile.open(folder / "galaxies.tar", "w") as archive:
        for i in range(n):
            archive.add(folder / f"{i}.jpg", f"{i}.jpg")
    return folder / "galaxies.tar"


def read_tar(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Each image of a tar, streamed from its beginning as WebDataset does."""
    with tarfile.open(path, "r|") as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            yield cv2.imdecode(np.frombuffer(content.read(), np.uint8), cv2.IMREAD_COLOR_RGB)


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
        raw, jpeg, archive = shard(folder, "raw", images), shard(folder, "jpeg", images), tar(folder, len(images))
        for i, image in zip(range(50), read_tar(archive), strict=False):
            np.testing.assert_array_equal(image, read_loose(folder, i, "jpg"))
        for i in order[:50]:
            np.testing.assert_array_equal(raw.images([i])[0], read_loose(folder, i, "png"))
            np.testing.assert_array_equal(jpeg.images([i])[0], read_loose(folder, i, "jpg"))
        with h5py.File(raw.path) as file:
            dataset = file["images"]
            ways: dict[str, Callable[[], object]] = {
                "loose PNG files": lambda: each(lambda i: read_loose(folder, i, "png"), order),
                "loose JPEG files": lambda: each(lambda i: read_loose(folder, i, "jpg"), order),
                "tar of JPEG, in sequence": lambda: each(lambda _: None, read_tar(archive)),
                "JPEG shard, one by one": lambda: each(lambda i: jpeg.images([i]), order),
                "raw shard, plain h5py": lambda: each(lambda i: dataset[i], order),
                "raw shard, one by one": lambda: each(lambda i: raw.images([i]), order),
                "raw shard, batches of 64": lambda: each(raw.images, batches(order)),
                "raw shard, in sequence": lambda: each(
                    lambda batch: raw.images(slice(batch[0], batch[-1] + 1)), batches(np.sort(order))
                ),
            }
            rates = {way: options.galaxies / median_seconds(call, options.repeats) for way, call in ways.items()}
            sizes = {
                "PNG files": sum(path.stat().st_size for path in folder.glob("*.png")),
                "JPEG files": sum(path.stat().st_size for path in folder.glob("*.jpg")),
                "tar of JPEG files": archive.stat().st_size,
                "raw shard": raw.path.stat().st_size,
            }
            table = [jpeg_row(folder, images, quality, options.repeats) for quality in QUALITIES]
    for way, rate in rates.items():
        print(
            f"{way:<26} {rate:>9,.0f} images/s   {rate / rates['loose PNG files']:>6.1f} x PNG   "
            f"{rate / rates['loose JPEG files']:>6.1f} x JPEG"
        )
    print()
    for what, size in sizes.items():
        print(f"{what:<26} {size / options.galaxies / 1000:>9.1f} kB a galaxy")
    for row in table:
        print(row)


def jpeg_row(folder: Path, images: NDArray[np.uint8], quality: int, repeats: int) -> str:
    """Size, speed and error of a JPEG shard of one quality."""
    reader = shard(folder, "jpeg", images, quality)
    rate = len(images) / median_seconds(lambda: reader.images(slice(None)), repeats)
    error = np.abs(reader.images(slice(0, 200)).astype(int) - images[:200])
    name = f"JPEG shard, quality {quality}"
    size = reader.path.stat().st_size / len(images) / 1000
    moved = (
        f"pixels moved by {error.mean():.2f} of 255 on average, {np.percentile(error, 99):.0f} at the 99th percentile"
    )
    return f"{name:<26} {size:>9.1f} kB a galaxy   {rate:>7,.0f} images/s   {moved}"


if __name__ == "__main__":
    main()
