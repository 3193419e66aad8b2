"""Training images a second through the loader alone: shards and one warp, against JPEG files and separate transforms.

    python benchmarks/bench_loader.py

The same galaxies go to gzflow as 300 px shards and to galaxy-datasets as the 424 px JPEG files it reads (its default
view, as zoobot trains with). Both give 224 px training views with two workers. The rival is left out, and said so, when
it is not installed: see requirements-rival.txt.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from galaxies import jpeg_files, pictures, shard_set
from timing import machine

from gzflow.training.augment import Augmentation
from gzflow.training.config import TrainConfig
from gzflow.training.data import EpochOrder, Galaxies, loader

os.environ.setdefault("WANDB_MODE", "disabled")


def rate(batches: Any, set_epoch: Any, count: Any, epochs: int) -> float:
    """Images a second over `epochs` passes, after one that starts the workers."""
    for epoch in range(epochs + 1):
        set_epoch(epoch)
        if epoch == 1:
            start, seen = time.perf_counter(), 0
        for batch in batches:
            if epoch:
                seen += count(batch)
    return seen / (time.perf_counter() - start)


def ours(images: Any, folder: Path, pixels: int, workers: int, batch: int, epochs: int) -> float:
    shards = shard_set(images, folder, pixels=pixels)
    config = TrainConfig().resolve(len(images), shards.recipe)
    augmentation = Augmentation(int(config.input_pixels), config.zoom, config.shift)
    galaxies = Galaxies(shards, "train", augmentation, seed=1)
    order = EpochOrder(len(galaxies), batch, shuffle=True, seed=1)
    batches = loader(galaxies, order, workers=workers, pinned=False)
    return rate(batches, order.set_epoch, lambda b: len(b[0]), epochs)


def rivals(paths: Iterable[Path], workers: int, batch: int) -> dict[str, float]:
    try:
        import pandas as pd
        from galaxy_datasets import transforms
        from galaxy_datasets.pytorch.galaxy_datamodule import CatalogDataModule
    except ImportError as error:
        print(f"the rival is not installed ({error}): see benchmarks/requirements-rival.txt")
        return {}
    logging.disable(logging.INFO)
    catalog = pd.DataFrame({"id_str": [path.stem for path in paths], "file_loc": [str(path) for path in paths]})
    catalog["label"] = 1
    found = {}
    for name in ("default", "minimal", "fast"):
        view = transforms.get_galaxy_transform(getattr(transforms, f"{name}_view_config")())
        module = CatalogDataModule(
            label_cols=["label"],
            train_catalog=catalog,
            val_catalog=catalog,
            test_catalog=catalog,
            train_transform=view,
            test_transform=view,
            batch_size=batch,
            num_workers=workers,
        )
        module.setup("fit")
        found[name] = rate(module.train_dataloader(), lambda _: None, lambda b: len(b["image"]), 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--galaxies", type=int, default=1000)
    parser.add_argument("--pixels", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    print(machine())
    images = pictures(options.galaxies, 424)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = jpeg_files(images, folder / "jpeg")
        mine = ours(images, folder / "shards", options.pixels, options.workers, options.batch, 3)
        print(f"gzflow, {options.pixels} px shards, {options.workers} workers: {mine:8.0f} images/s")
        for view, theirs in rivals(paths, options.workers, options.batch).items():
            print(
                f"galaxy-datasets, {view:8s} view, same workers: {theirs:8.0f} images/s   gzflow: {mine / theirs:.1f} x"
            )


if __name__ == "__main__":
    main()
