from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gzflow.shards.reader import ShardSet
from gzflow.training.augment import Augmentation
from gzflow.training.data import EpochOrder, Galaxies, channel_statistics, loader


def places(order: EpochOrder) -> list[int]:
    return [position for batch in order for _, position in batch]


@given(n=st.integers(1, 300), size=st.integers(1, 40), epoch=st.integers(0, 50), world=st.integers(1, 3))
def test_an_epoch_shows_each_galaxy_at_most_once_and_leaves_out_less_than_a_batch(
    n: int, size: int, epoch: int, world: int
) -> None:
    seen: list[int] = []
    lengths = set()
    for rank in range(world):
        order = EpochOrder(n, size, shuffle=True, seed=3, rank=rank, world=world)
        order.set_epoch(epoch)
        batches = list(order)
        assert len(batches) == len(order)
        lengths.add(len(batches))
        seen += [position for batch in batches for _, position in batch]
    assert len(lengths) == 1  # or processes would wait for each other for ever
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(range(n))
    assert n - len(seen) < size
    if n < 10 * size:
        assert len(seen) == n


@given(n=st.integers(0, 100), size=st.integers(1, 40), world=st.integers(1, 3))
def test_validation_shows_every_galaxy_once_and_in_order(n: int, size: int, world: int) -> None:
    shares = [places(EpochOrder(n, size, shuffle=False, rank=rank, world=world)) for rank in range(world)]
    assert sorted(position for share in shares for position in share) == list(range(n))
    assert all(share == sorted(share) for share in shares)
    assert len(EpochOrder(n, size, shuffle=False)) == len(list(EpochOrder(n, size, shuffle=False)))


def test_small_sets_have_no_tiny_batch() -> None:
    sizes = [len(batch) for batch in EpochOrder(65, 32, shuffle=True)]
    assert sizes == [22, 22, 21]


def test_seed_and_epoch_decide_the_order() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        chosen = EpochOrder(50, 8, shuffle=True, seed=seed)
        chosen.set_epoch(epoch)
        return places(chosen)

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(1, 0)), tuple(order(1, 1)), tuple(order(2, 0))}) == 3


def test_galaxies_left_out_change_from_epoch_to_epoch() -> None:
    chosen = EpochOrder(105, 10, shuffle=True)
    left = []
    for epoch in range(5):
        chosen.set_epoch(epoch)
        left.append(set(range(105)) - set(places(chosen)))
    assert all(len(out) == 5 for out in left)
    assert len(set.union(*left)) > 5


def test_images_and_votes_belong_together_across_shards(toy_set: ShardSet) -> None:
    galaxies = Galaxies(toy_set, "train")
    assert len(galaxies) == 96
    positions = [90, 2, 50, 47, 48]
    images, votes = galaxies[[(0, position) for position in positions]]
    every = np.concatenate([reader.images(slice(None)) for reader in toy_set.readers("train")])
    np.testing.assert_array_equal(images.numpy(), every[positions])
    np.testing.assert_array_equal(votes.numpy(), toy_set.votes("train")[positions])
    assert images.dtype == torch.uint8


def test_augmentation_depends_on_seed_epoch_and_galaxy_alone(toy_set: ShardSet) -> None:
    def view(seed: int, epoch: int, *positions: int) -> torch.Tensor:
        galaxies = Galaxies(toy_set, "train", Augmentation(24, (0.9, 1.1), 0.03), seed)
        return galaxies[[(epoch, position) for position in positions]][0]

    first = view(1, 0, 5, 6)
    assert torch.equal(view(1, 0, 80, 5)[1], first[0])
    assert not torch.equal(view(1, 1, 5)[0], first[0])
    assert not torch.equal(view(2, 0, 5)[0], first[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_do_not_change_what_is_seen(toy_set: ShardSet, workers: int) -> None:
    galaxies = Galaxies(toy_set, "train", Augmentation(24, (0.9, 1.1), 0.03), 4)
    order = EpochOrder(len(galaxies), 32, shuffle=True, seed=4)
    batches = loader(galaxies, order, workers=workers, pinned=False)
    for epoch in (0, 1):  # persistent workers see the new epoch too
        order.set_epoch(epoch)
        for found, wanted in zip(batches, list(order), strict=True):
            images, votes = galaxies[wanted]
            assert torch.equal(found[0], images)
            assert torch.equal(found[1], votes)


def test_channel_statistics(toy_set: ShardSet) -> None:
    mean, std = channel_statistics(toy_set)
    every = np.concatenate([reader.images(slice(None)) for reader in toy_set.readers("train")]).reshape(-1, 3)
    np.testing.assert_allclose(mean, every.mean(0), rtol=1e-4)
    np.testing.assert_allclose(std, every.std(0), rtol=1e-4)
    few, _ = channel_statistics(toy_set, most=10)
    np.testing.assert_allclose(few, mean, rtol=0.2)
