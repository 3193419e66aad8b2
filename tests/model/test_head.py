from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from gzflow.errors import ModelError
from gzflow.model.head import ConcentrationHead, galaxy_keys
from gzflow.model.spec import RANGE
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree((Question("shape", ("round", "disk", "odd")), Question("bar", ("yes", "no"))))
DIM = 40


@pytest.fixture
def head() -> ConcentrationHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return ConcentrationHead(DIM, TREE, 0.2).eval()


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(6, DIM, generator=torch.Generator().manual_seed(2)) * 2


def test_concentrations_stay_inside_the_range(head: ConcentrationHead, features: torch.Tensor) -> None:
    found = head(features * 1000)
    low, high = RANGE
    assert ((found >= low) & (found <= high)).all()


def test_start_gives_every_galaxy_the_wanted_answer(head: ConcentrationHead, features: torch.Tensor) -> None:
    head.start_from([3.0, 50, 0.5, 7, 99])
    found = head(torch.zeros(1, DIM))
    torch.testing.assert_close(found, torch.tensor([[3.0, 50, 0.5, 7, 99]]), rtol=1e-4, atol=1e-4)
    # The spread over galaxies is small, but not zero.
    assert 0 < float((head(features)[:, 1] - 50).abs().max().detach()) < 20


def test_start_outside_the_range_is_moved_inside(head: ConcentrationHead) -> None:
    head.start_from([0.01, 5000, 1, 101, 2])
    assert torch.isfinite(head(torch.zeros(1, DIM))).all()


def test_samples_have_the_law_of_naive_passes(head: ConcentrationHead, features: torch.Tensor) -> None:
    """The law is compared for one galaxy at a time, and pooled over galaxies with equal features."""
    n = 4000
    naive_head = head.train()
    with torch.no_grad():
        naive = torch.stack([naive_head(features) for _ in range(n)], dim=1).numpy()
        head.eval()
        ours = head.sample(features, n, seed=3).numpy()
        pooled = head.sample(features[:1].expand(n // 4, -1), 4, seed=4).reshape(1, n, -1).numpy()
    np.testing.assert_allclose(ours.mean(1), naive.mean(1), rtol=0.05)
    np.testing.assert_allclose(ours.std(1), naive.std(1), rtol=0.08)
    for galaxy in range(len(features)):
        for answer in range(5):
            assert ks_2samp(ours[galaxy, :, answer], naive[galaxy, :, answer]).pvalue > 1e-4
    for answer in range(5):
        assert ks_2samp(pooled[0, :, answer], naive[0, :, answer]).pvalue > 1e-4


def test_samples_vary_and_are_not_shared_between_galaxies(head: ConcentrationHead, features: torch.Tensor) -> None:
    found = head.sample(features[:1].expand(50, -1), 20)
    assert len(torch.unique(found[:, :, 0])) > 950


def test_masks_keep_the_right_share_of_each_feature() -> None:
    tree = DecisionTree((Question("q", ("a", "b")),))
    head = ConcentrationHead(3, tree, 0.3)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]))
        head.linear.bias.zero_()
        found = head.sample(torch.ones(1, 3), 20_000)[0]
    dropped = (found == sum(RANGE) / 2).float()  # logit 0
    np.testing.assert_allclose(dropped.mean(0), 0.3, atol=0.015)
    assert abs(float(torch.corrcoef(dropped.T)[0, 1])) < 0.03


def test_a_galaxy_keeps_its_samples_in_any_company(head: ConcentrationHead, features: torch.Tensor) -> None:
    keys = torch.from_numpy(galaxy_keys([f"g{i}" for i in range(6)]).copy())
    together = head.sample(features, 7, seed=5, keys=keys)
    order = torch.tensor([4, 0, 3])
    apart = head.sample(features[order], 7, seed=5, keys=keys[order])
    # The masks are equal bit for bit; a matrix product of another height may round differently.
    torch.testing.assert_close(apart, together[order], rtol=1e-6, atol=1e-6)
    again = head.sample(features, 7, seed=5, keys=keys)
    assert torch.equal(again, together)


def test_fewer_samples_are_a_beginning_of_more(head: ConcentrationHead, features: torch.Tensor) -> None:
    few, many = head.sample(features, 3, seed=1), head.sample(features, 9, seed=1)
    torch.testing.assert_close(many[:, :3], few)


@pytest.mark.parametrize("change", ["seed", "key"])
def test_seed_and_galaxy_decide(head: ConcentrationHead, features: torch.Tensor, change: str) -> None:
    keys = torch.arange(6)
    one = head.sample(features, 4, seed=1, keys=keys)
    two = head.sample(features, 4, seed=1 + (change == "seed"), keys=keys + 100 * (change == "key"))
    assert not torch.isclose(one, two).all(-1).any()


def test_global_random_numbers_are_left_alone(head: ConcentrationHead, features: torch.Tensor) -> None:
    before = torch.get_rng_state()
    head.sample(features, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_dropout_all_samples_are_equal(features: torch.Tensor) -> None:
    head = ConcentrationHead(DIM, TREE, 0.0)
    found = head.sample(features, 4)
    assert torch.equal(found[:, 0], found[:, 3])


def test_bfloat16_features_give_float32(head: ConcentrationHead, features: torch.Tensor) -> None:
    features = features.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        mixed, sampled = head(features), head.sample(features, 2)
    assert torch.equal(mixed, head(features.float()))
    assert torch.equal(sampled, head.sample(features.float(), 2))


def test_galaxy_keys_follow_the_id_alone() -> None:
    first = galaxy_keys(["a", "J0123+45", "587722981741363294"])
    assert first.dtype == np.int64
    np.testing.assert_array_equal(galaxy_keys(["587722981741363294"]), first[2:])
    assert len(galaxy_keys([])) == 0
    assert len(set(galaxy_keys([str(i) for i in range(10_000)]).tolist())) == 10_000


def test_wrong_arguments_are_named(head: ConcentrationHead, features: torch.Tensor) -> None:
    with pytest.raises(ModelError, match="n_samples is 0"):
        head.sample(features, 0)
    with pytest.raises(ModelError, match="dropout is 1"):
        ConcentrationHead(DIM, TREE, 1.0)


def test_check_boxes_have_two_concentrations_each_once_they_are_parted() -> None:
    tree = DecisionTree((Question("features", ("ring", "lens"), multiple_choice=True),))
    with pytest.raises(ModelError, match="multiple_choice questions: features"):
        ConcentrationHead(DIM, tree, 0.2)
    assert ConcentrationHead(DIM, tree.parted, 0.2).linear.out_features == 4
