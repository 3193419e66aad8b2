from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gzflow.catalog.split import SPLITS, assign

names = st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=60)


def ids(n: int) -> list[str]:
    return [f"galaxy-{i}" for i in range(n)]


def test_shares_are_near_70_10_20() -> None:
    n = 20_000
    found = Counter(assign(ids(n), ids(n)).splits.tolist())
    for split, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
        assert abs(found[split] - share * n) < 4 * np.sqrt(n * share * (1 - share))


def test_the_assignment_is_pinned() -> None:
    """A change of the hash would move galaxies between the training and the test set of every stored model."""
    keys = ["cell 0", "cell 1", "cell 2", "cell 12345", "id J081412.47+220853.0", "id 587726016142835881"]
    found = assign([*keys, *ids(100)], ids(106))
    assert not found.forced
    assert found.splits[:6].tolist() == ["train", "test", "train", "test", "train", "train"]


@given(names)
def test_no_split_is_empty_from_three_galaxies_on(keys: list[str]) -> None:
    found = assign(keys, keys)
    assert len(found.splits) == len(keys)
    assert set(found.splits) <= set(SPLITS)
    if len(keys) >= 3:
        assert set(found.splits) == set(SPLITS)


@given(names.filter(bool), st.randoms(use_true_random=False))
def test_galaxies_of_one_key_share_a_split_in_any_order(keys: list[str], random) -> None:
    doubled = [key for key in keys for _ in range(3)]
    random.shuffle(doubled)
    found = assign(doubled, ids(len(doubled)))
    by_key: dict[str, set[str]] = {}
    for key, split in zip(doubled, found.splits, strict=True):
        by_key.setdefault(key, set()).add(str(split))
    if len(keys) >= 3:
        assert all(len(splits) == 1 for splits in by_key.values())
    else:
        assert set(found.splits) == set(SPLITS)
        assert found.forced
    plain = assign(keys, keys)
    if len(keys) >= 3:
        assert dict(zip(keys, plain.splits, strict=True)) == {key: next(iter(s)) for key, s in by_key.items()}


@given(names, names)
def test_a_split_does_not_depend_on_the_other_galaxies_unless_it_was_forced(some: list[str], more: list[str]) -> None:
    everything = list(dict.fromkeys(some + more))
    small, large = assign(some, some), assign(everything, everything)
    if not small.forced and not large.forced:
        where = dict(zip(everything, large.splits, strict=True))
        assert [where[key] for key in some] == small.splits.tolist()


@given(names)
def test_the_fewest_galaxies_are_moved(keys: list[str]) -> None:
    found = assign(keys, keys)
    natural = assign([*keys, *ids(500)], [*keys, *ids(500)])
    assert not natural.forced
    moved = int((found.splits != natural.splits[: len(keys)]).sum())
    assert moved == (len(set(SPLITS) - set(natural.splits[: len(keys)])) if len(keys) >= 3 else 0)
    assert found.forced == (moved > 0)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_galaxies_are_left_where_they_fall(n: int) -> None:
    found = assign(ids(n), ids(n))
    assert len(found.splits) == n
    assert not found.forced


def test_one_cell_of_many_galaxies_is_parted() -> None:
    found = assign(["cell 7"] * 30, ids(30))
    assert found.forced
    assert set(found.splits) == set(SPLITS)


def test_keys_and_ids_must_go_together() -> None:
    with pytest.raises(ValueError, match="2 keys for 3 ids"):
        assign(["a", "b"], ids(3))
