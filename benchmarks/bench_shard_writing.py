"""Galaxies a second from ingested JPEG files to finished shards, against the decode + resize limit of the cores.

    python benchmarks/bench_shard_writing.py --galaxies 8000

The whole shard stage is timed as its flow runs it: store, file reads, SHA-256 of each file against the ledger, full
check, decode, resize, HDF5, fingerprint, fsync, manifest. The limit is OpenCV alone on as many threads as there are
cores: imdecode and resize of the same bytes, already in memory, the pixels thrown away. What the shards hold is
asserted to be exactly those pixels (raw).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import polars as pl
from galaxies import TREE, jpeg_files, pictures
from timing import machine

from gzflow.catalog.read import CatalogTable
from gzflow.catalog.store import CatalogStore, CutoutRecord
from gzflow.settings import Settings
from gzflow.shards.header import Codec
from gzflow.shards.reader import ShardSet
from gzflow.stages import shard
from gzflow.stages.counts import total
from gzflow.surveys import load_survey

SURVEY = "decals"
CORES = len(os.sched_getaffinity(0))
CODECS: tuple[Codec, ...] = ("raw", "jpeg")
T = TypeVar("T")
CHUNKS = 2
"""Shards written at a time, as the flow does."""


def ingested(paths: list[Path], settings: Settings) -> None:
    """A store as ingest leaves it: one galaxy and one ledger row a file."""
    n, survey = len(paths), load_survey(SURVEY)
    ids = [f"J{i:08d}" for i in range(n)]
    rng = np.random.default_rng(0)
    votes = rng.integers(0, 40, (n, len(TREE.answers))).astype(np.int32)
    galaxies = {
        "id_str": ids, "ra": rng.uniform(0, 360, n), "dec": rng.uniform(-30, 30, n), "pixscale": [0.262] * n,
        "image": [None] * n, "carried": ["{}"] * n,
    }  # fmt: skip
    table = CatalogTable(
        galaxies=pl.DataFrame(galaxies, schema_overrides={"image": pl.String}),
        votes=pl.DataFrame({"id_str": ids} | {name: votes[:, k] for k, name in enumerate(TREE.answers)}),
        n_read=n, n_filtered=0, failures=(), rounding_residual=0.0, notes=(),
    )  # fmt: skip
    records = [
        CutoutRecord(
            id_str, "done", str(path), source="folder", bytes=path.stat().st_size,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for id_str, path in zip(ids, paths, strict=True)
    ]  # fmt: skip
    with CatalogStore(settings.catalog_url) as store:
        store.upsert_catalog(survey, table)
        store.record_cutouts(SURVEY, records)


def limit(contents: list[bytes], pixels: int) -> None:
    """Decode and resize on all cores, and do nothing else."""

    def one(content: bytes) -> None:
        whole = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
        cv2.resize(whole, (pixels, pixels), interpolation=cv2.INTER_AREA)

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(one, contents))


def written(settings: Settings, pixels: int, codec: Codec) -> ShardSet:
    plan = shard.plan(SURVEY, settings, pixels=pixels, codec=codec)
    with ThreadPoolExecutor(CHUNKS) as pool:
        counts = total(pool.map(lambda chunk: shard.run_chunk(chunk, settings), plan.chunks))
    return ShardSet.open(shard.finish(plan, counts).folder)


def measured(call: Callable[[], T]) -> tuple[float, float, T]:
    """Seconds by the clock, seconds of all cores together, and what the call returns."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def same_pixels(shards: ShardSet, paths: list[Path], pixels: int) -> None:
    """Assert that a shard's pixels are those that OpenCV makes of the files."""
    reader = shards.readers()[0]
    for row in range(0, len(reader), max(1, len(reader) // 50)):
        whole = cv2.imread(str(paths[int(reader.ids[row][1:])]), cv2.IMREAD_COLOR_RGB)
        expected = cv2.resize(whole, (pixels, pixels), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(reader.images([row])[0], expected)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--galaxies", type=int, default=8000)
    parser.add_argument("--delivered", type=int, default=424, help="side of the JPEG files")
    parser.add_argument("--pixels", type=int, default=300, help="side in the shards")
    parser.add_argument("--folder", type=Path, help="where to write; empty: the system's folder for temporary files")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    print(f"{options.galaxies:,} JPEG files of {options.delivered} px to shards of {options.pixels} px")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        # Few different pictures under many names: drawing them would take longer than the benchmark.
        first = jpeg_files(pictures(min(500, options.galaxies), options.delivered), folder / "images")
        paths = [first[i] if i < len(first) else folder / "images" / f"{i}.jpg" for i in range(options.galaxies)]
        for i in range(len(first), options.galaxies):
            shutil.copyfile(first[i % len(first)], paths[i])
        contents = [path.read_bytes() for path in paths]
        settings = Settings.load({}, home=folder / "home")
        ingested(paths, settings)
        walls: dict[str, float] = {}
        cpus: dict[str, float] = {}
        sizes: dict[str, float] = {}

        def keep(what: str, wall: float, cpu: float) -> None:
            walls[what] = min(walls.get(what, np.inf), wall)
            cpus[what] = min(cpus.get(what, np.inf), cpu)

        for _ in range(options.repeats):
            # In turn, so that a busy neighbour slows all alike.
            keep("limit", *measured(lambda: limit(contents, options.pixels))[:2])
            for codec in CODECS:
                shutil.rmtree(settings.home / "shards", ignore_errors=True)
                wall, cpu, shards = measured(partial(written, settings, options.pixels, codec))
                keep(codec, wall, cpu)
                sizes[codec] = sum(entry.bytes for entry in shards.entries()) / shards.n() / 1000
                if codec == "raw":
                    same_pixels(shards, paths, options.pixels)
    n = options.galaxies
    print(f"decode + resize alone, {CORES} threads   {n / walls['limit']:>8,.0f} galaxies/s")
    for codec in CODECS:
        share, cpu_share = walls["limit"] / walls[codec], cpus["limit"] / cpus[codec]
        print(
            f"{f'shard stage, {codec}':<33} {n / walls[codec]:>8,.0f} galaxies/s   {share:>6.1%} of the limit"
            f" ({cpu_share:.1%} by processor time)   {sizes[codec]:>6.1f} kB a galaxy"
        )


if __name__ == "__main__":
    main()
