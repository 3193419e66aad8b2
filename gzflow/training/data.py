"""Shards -> batches for training and validation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from gzflow.model.head import galaxy_keys
from gzflow.shards.header import Split
from gzflow.shards.reader import ShardSet
from gzflow.training.augment import Augmentation

Batch = tuple[Tensor, Tensor]
"""uint8 (n, H, W, C) images and int32 (n, n_answers) votes."""
Place = tuple[int, int]
"""Epoch, and position in the split."""

_MASK = 2**64 - 1


class Galaxies(Dataset[Batch]):
    """One split of a shard set, read a batch at a time.

    Parameters
    ----------
    augmentation
        None leaves the images as they are in the shard.
    seed
        With the epoch and the galaxy's id it decides the augmentation: workers and batch order have no say.
    rows
        Ascending numbers of the galaxies to use; None is all.
    """

    def __init__(
        self,
        shards: ShardSet,
        split: Split,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self.readers = shards.readers(split)
        self.bounds = np.cumsum([0, *(len(reader) for reader in self.readers)])
        self.rows = np.arange(self.bounds[-1]) if rows is None else rows
        self.votes = shards.votes(split)[self.rows]
        self.keys = galaxy_keys(shards.ids(split))[self.rows]
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: list[Place]) -> Batch:
        """One batch: places are (epoch, position), as `EpochOrder` gives them."""
        positions = np.array([position for _, position in places], np.int64)
        if self.augmentation is None:
            images = self._images(self.rows[positions])
        else:
            views = [
                self.augmentation(
                    self._image(int(self.rows[position])), _seed(self.seed, epoch, int(self.keys[position]))
                )
                for epoch, position in places
            ]
            images = np.stack(views)
        return torch.from_numpy(images), torch.from_numpy(self.votes[positions])

    def _image(self, row: int) -> NDArray[np.uint8]:
        shard = int(np.searchsorted(self.bounds, row, "right")) - 1
        return self.readers[shard].images([row - int(self.bounds[shard])])[0]

    def _images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        shards = np.searchsorted(self.bounds, rows, "right") - 1
        parts = []
        # Validation asks in order, so neighbours share a shard and one read serves them.
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(shards)) + 1):
            shard = int(shards[run[0]])
            parts.append(self.readers[shard].images(rows[run] - self.bounds[shard]))
        return np.concatenate(parts)


class EpochOrder(Sampler[list[Place]]):
    """Batches of places; with `shuffle`, in an order that (seed, epoch) decides.

    Up to ten batches' worth of galaxies are divided evenly, so that none is left out and no batch is tiny. Larger sets
    are cut into full batches, and the few galaxies that remain sit this epoch out: others do in the next.

    Parameters
    ----------
    rank, world
        This process among all: every global batch is divided between them.
    """

    def __init__(self, n: int, batch_size: int, *, shuffle: bool, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        self.n = n
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self.shuffle:
            return self.n // self.batch_size if self._cuts else math.ceil(self.n / self.batch_size)
        return math.ceil(len(range(self.rank, self.n, self.world)) / self.batch_size)

    @property
    def smallest(self) -> int:
        """Galaxies of the smallest global batch, all processes' shares together, when shuffled."""
        return self.batch_size if self._cuts else self.n // len(self)

    def __iter__(self) -> Iterator[list[Place]]:
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n)
            kept = order[: len(self) * self.batch_size] if self._cuts else order
            batches = [batch[self.rank :: self.world] for batch in np.array_split(kept, len(self))]
        else:
            mine = np.arange(self.rank, self.n, self.world)
            batches = [mine[start : start + self.batch_size] for start in range(0, len(mine), self.batch_size)]
        for batch in batches:
            yield [(self.epoch, int(position)) for position in batch]

    @property
    def _cuts(self) -> bool:
        return self.n >= 10 * self.batch_size


def loader(galaxies: Galaxies, order: EpochOrder, *, workers: int, pinned: bool) -> DataLoader[Batch]:
    """Batches in `order`, read by `workers` processes (0: by this one)."""
    return DataLoader(
        galaxies,
        sampler=order,
        batch_size=None,
        num_workers=workers,
        pin_memory=pinned,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        # Else starting an epoch would draw from the generator that dropout uses, and workers would change the result.
        generator=torch.Generator(),
    )


def training_rows(shards: ShardSet, labels: int | None, seed: int) -> NDArray[np.int64]:
    """Ascending numbers of the training galaxies that `TrainConfig.labels` and `seed` choose; all for None.

    Galaxies are ranked by a hash of their id and the seed, and the first are taken: 50 of them are among 200.
    """
    ids = shards.ids("train")
    if labels is None or labels >= len(ids):
        return np.arange(len(ids))
    ranks = galaxy_keys(f"{seed}:{id_str}" for id_str in ids)
    return np.sort(np.argsort(ranks, kind="stable")[:labels])


def channel_statistics(
    shards: ShardSet, rows: NDArray[np.int64] | None = None, most: int = 1024, *, grey: bool = False
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, on the scale 0-255, of training images.

    Parameters
    ----------
    rows
        The training galaxies to look at; None is all.
    most
        Of these, that many are read, evenly spaced.
    grey
        Of the average over the channels, as the only one.
    """
    galaxies = Galaxies(shards, "train", rows=rows)
    positions = np.unique(np.linspace(0, len(galaxies) - 1, min(most, len(galaxies))).astype(np.int64))
    channels = 1 if grey else shards.recipe.n_channels
    count, total, squares = 0, np.zeros(channels), np.zeros(channels)
    for chosen in np.array_split(positions, -(-len(positions) // 64)):
        images, _ = galaxies[[(0, int(position)) for position in chosen]]
        values = images.numpy().reshape(-1, shards.recipe.n_channels).astype(np.float64)
        values = values.mean(1, keepdims=True) if grey else values
        count += len(values)
        total += values.sum(0)
        squares += (values**2).sum(0)
    mean = total / count
    # Empty channels would divide by 0.
    std = np.sqrt(np.maximum(squares / count - mean**2, 1.0))
    return tuple(np.round(mean, 4).tolist()), tuple(np.round(std, 4).tolist())


def _seed(seed: int, epoch: int, key: int) -> int:
    return (key ^ (seed * 0x9E3779B97F4A7C15) ^ ((epoch + 1) * 0xD1B54A32D192ED03)) & _MASK
