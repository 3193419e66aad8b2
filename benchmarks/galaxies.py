"""Galaxies for the benchmarks: made-up ones as shards and as JPEG files, and a simulated survey as shards."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from gzflow import DecisionTree, ImageRecipe, load_survey
from gzflow.shards.header import MANIFEST, SHARD_SIZE, ShardHeader
from gzflow.shards.reader import ShardSet
from gzflow.shards.writer import begin_set, write_manifest, write_shard
from gzflow.simulation.survey import SimulatedSurvey

TREE: DecisionTree = load_survey("decals").tree


def pictures(n: int, pixels: int, seed: int = 42) -> np.ndarray:
    """(n, pixels, pixels, 3) disks with a nucleus and sky noise: they compress about as real galaxies do."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : pixels * 1j, -1 : 1 : pixels * 1j]
    images = np.empty((n, pixels, pixels, 3), np.uint8)
    for image in images:
        q, angle, size = rng.uniform(0.2, 1), rng.uniform(0, np.pi), rng.uniform(0.05, 0.3)
        r = np.hypot(x * np.cos(angle) + y * np.sin(angle), (y * np.cos(angle) - x * np.sin(angle)) / q)
        light = 160 * np.exp(-r / size)[..., None] * rng.uniform(0.6, 1, 3) + 20
        image[:] = np.clip(light + rng.normal(0, 6, (pixels, pixels, 3)), 0, 255)
    return images


def jpeg_files(images: np.ndarray, folder: Path) -> list[Path]:
    """Write each image as a JPEG of quality 92, as the cutout services deliver them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}.jpg" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return paths


def shard_set(images: np.ndarray, folder: Path, *, pixels: int, validation: int = 0) -> ShardSet:
    """Shards at `pixels` a side, with made-up votes; the last `validation` galaxies are that split."""
    begin_set(folder)
    n = len(images)
    rng = np.random.default_rng(1)
    votes = rng.integers(0, 20, (n, len(TREE.answers))).astype(np.int32)
    if images.shape[1] != pixels:
        images = np.stack([cv2.resize(image, (pixels, pixels), interpolation=cv2.INTER_AREA) for image in images])
    entries = []
    for split, rows in (("train", slice(0, n - validation)), ("validation", slice(n - validation, n))):
        ids = [str(i) for i in range(n)][rows]
        if not ids:
            continue
        header = ShardHeader(survey="bench", tree=TREE.to_dict(), recipe=ImageRecipe(pixels=pixels), split=split)
        nan = np.full(len(ids), np.nan)
        entries.append(
            write_shard(
                folder / f"{split}-00000.h5",
                header,
                images=images[rows],
                votes=votes[rows],
                ids=ids,
                ra=nan,
                dec=nan,
                pixscale=nan,
            )
        )
    write_manifest(folder, header, entries)
    return ShardSet.open(folder)


def simulated_set(name: str, counts: dict[str, int], folder: Path, *, pixels: int = 64, seed: int = 42) -> ShardSet:
    """Shards of the simulated survey `name`, with so many galaxies in each split; drawn once a folder."""
    if (folder / MANIFEST).is_file():
        return ShardSet.open(folder)
    survey = SimulatedSurvey.draw(name, sum(counts.values()), seed, pixels=pixels)
    begin_set(folder)
    start, entries = 0, []
    for split, n in counts.items():
        header = ShardHeader(
            survey=name, tree=survey.base.tree.to_dict(), recipe=survey.base.image_recipe(pixels), split=split
        )
        for number, part in enumerate(range(start, start + n, SHARD_SIZE)):
            rows = slice(part, min(part + SHARD_SIZE, start + n))
            entries.append(
                write_shard(
                    folder / f"{split}-{number:05d}.h5",
                    header,
                    images=np.stack([survey.picture(row) for row in range(rows.start, rows.stop)]),
                    votes=survey.votes.counts[rows],
                    ids=survey.ids[rows],
                    ra=survey.galaxies["ra"][rows],
                    dec=survey.galaxies["dec"][rows],
                    pixscale=survey.pixscale[rows],
                )
            )
        start += n
    write_manifest(folder, header, entries)
    return ShardSet.open(folder)
