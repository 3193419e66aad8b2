"""Heads that give a mixture of Dirichlets a question."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.special import logsumexp

from gzflow.evaluation.calibration import predictive_steps
from gzflow.evaluation.likelihood import log_likelihood, mixture_nll
from gzflow.model.components import ComponentHead, Components
from gzflow.model.losses import components_nll, constant_dirichlet
from gzflow.model.morphology import Morphology
from gzflow.model.spec import ModelSpec, SurveyTree
from gzflow.recipe import ImageRecipe
from gzflow.training.config import TrainConfig
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree(
    (
        Question("shape", ("round", "flat", "other")),
        Question("bar", ("yes", "no"), asked_after=("shape=flat",)),
    )
)


def head(components: int = 3, dropout: float = 0.2, *, sure: bool = False) -> ComponentHead:
    torch.manual_seed(1)
    made = ComponentHead(8, TREE, dropout, components=components)
    if sure:
        # One galaxy is as the other: features say nothing.
        made.linear.weight.data.zero_()
    return made.eval()


def test_the_loss_is_that_of_the_weighted_mixture() -> None:
    rng = np.random.default_rng(3)
    alpha = rng.uniform(0.2, 30, (6, 3, 5))
    weights = rng.dirichlet(np.ones(3), (6, 2)).transpose(0, 2, 1)
    votes = np.column_stack([rng.integers(0, 20, (6, 3)), np.zeros((6, 2), int)])
    votes[3:, 3:] = rng.integers(1, 9, (3, 2))
    each = log_likelihood(votes[:, None], alpha, TREE)
    expected = np.where(votes[:, [0, 3]] + votes[:, [1, 4]] > 0, -logsumexp(each + np.log(weights), axis=1), 0.0)
    mixture = Components(torch.tensor(alpha), torch.tensor(np.log(weights)))
    found = components_nll(torch.tensor(votes), mixture, TREE)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)
    assert (found[:3, 1] == 0).all()


@pytest.mark.parametrize("n_samples", [7, 20])
def test_samples_are_dealt_to_the_components_by_their_weights(n_samples) -> None:
    mixture_of = head(sure=True)
    features = torch.zeros(400, 8)
    with torch.inference_mode():
        mixture = mixture_of(features[:1])
        drawn = mixture_of.sample(features, n_samples, keys=torch.arange(400) * 7919)
    for q, part in enumerate(TREE.slices):
        weights = mixture.log_weights[0, :, q].exp()
        chosen = torch.stack([(drawn[..., part] == one).all(-1) for one in mixture.concentrations[0, :, part]], dim=2)
        assert (chosen.sum(2) == 1).all()
        counts = chosen.sum(1)
        assert ((counts - weights * n_samples).abs() < 1 + 1e-4).all()
        np.testing.assert_allclose(counts.float().mean(0) / n_samples, weights, atol=0.01)
    # Which component it is in one question says nothing of the other.
    first, second = ((drawn[..., part.start] == drawn[0, 0, part.start]).float() for part in TREE.slices)
    expected = first.mean() * second.mean()
    assert abs(float((first * second).mean() - expected)) < 0.5 * float(expected)


def test_a_galaxys_samples_do_not_depend_on_its_neighbours() -> None:
    one = head()
    features, keys = torch.randn(5, 8), torch.tensor([4, 2**40, -7, 0, 99])
    with torch.inference_mode():
        together = one.sample(features, 6, seed=3, keys=keys)
        alone = one.sample(features[2:3], 6, seed=3, keys=keys[2:3])
        other = one.sample(features, 6, seed=4, keys=keys)
    torch.testing.assert_close(together[2:3], alone)
    assert not torch.equal(together, other)


def test_what_is_sure_to_be_one_of_two_is_said_so() -> None:
    """Galaxies that look alike and are of two kinds: a Dirichlet cannot hold them, two can."""
    rng = np.random.default_rng(5)
    kinds = 40 * np.array([[0.06, 0.9, 0.04], [0.9, 0.06, 0.04]])
    votes = np.zeros((6000, 5), np.int64)
    votes[:, :3] = [rng.multinomial(40, rng.dirichlet(kinds[kind])) for kind in rng.integers(0, 2, 6000)]
    mixture_of = head(2, dropout=0.0, sure=True)
    mixture_of.start_from(constant_dirichlet(votes[:2000], TREE, (0.15, 100)))
    mixture_of.linear.weight.data.zero_()
    optimizer = torch.optim.Adam([mixture_of.linear.bias], lr=0.1)
    counts = torch.from_numpy(votes[:2000])
    for _ in range(120):
        optimizer.zero_grad()
        loss = components_nll(counts, mixture_of(torch.zeros(2000, 8)), TREE).sum(1).mean()
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        drawn = mixture_of.sample(torch.zeros(4000, 8), 20, keys=torch.arange(4000)).double().numpy()
    unseen, constant = votes[2000:], constant_dirichlet(votes[:2000], TREE)
    assert mixture_nll(unseen, drawn, TREE)[:, 0].mean() < -log_likelihood(unseen, constant, TREE)[:, 0].mean() - 0.5
    steps = predictive_steps(unseen, drawn, TREE)
    wide = predictive_steps(unseen, np.broadcast_to(constant, (4000, 1, 5)), TREE)
    for level in (0.5, 0.8, 0.9):
        assert abs(steps.inside(level)[:, :3].mean() - level) < 0.02
    assert abs(wide.inside(0.5)[:, :3].mean() - 0.5) > 0.05


def model(tmp_path, trees) -> Morphology:
    spec = ModelSpec(
        encoder="shufflenet_v2_x0_5",
        components=2,
        trees=trees,
        recipe=ImageRecipe(pixels=32),
        input_pixels=32,
        mean=(20.0,) * 3,
        std=(30.0,) * 3,
    )
    torch.manual_seed(2)
    Morphology(spec).eval().save(tmp_path)
    return Morphology.load(tmp_path)


def test_saved_and_loaded_and_asked_for_one_of_its_surveys(tmp_path) -> None:
    other = DecisionTree((Question("ring", ("yes", "no")),))
    trees = [SurveyTree(survey=name, tree=tree.to_dict()) for name, tree in (("a", TREE), ("b", other), ("c", TREE))]
    joint = model(tmp_path, tuple(trees))
    images = np.random.default_rng(1).integers(0, 255, (4, 32, 32, 3), np.uint8)
    with torch.inference_mode():
        whole = joint(images)
        for survey, answers, questions in (("a", slice(5), slice(2)), ("b", slice(5, 7), slice(2, 3))):
            alone = joint.answering(survey)(images)
            torch.testing.assert_close(alone.concentrations, whole.concentrations[..., answers])
            torch.testing.assert_close(alone.log_weights, whole.log_weights[..., questions])
        last = joint.answering("c")
        torch.testing.assert_close(last(images).log_weights, whole.log_weights[..., 3:])
        assert last.concentrations(images, 20).shape == (4, 20, 5)
        assert torch.equal(Morphology.load(tmp_path).concentrations(images, 5), joint.concentrations(images, 5))


def test_one_component_is_what_it_was_before_there_were_several() -> None:
    assert TrainConfig().fingerprint == TrainConfig(components=1).fingerprint != TrainConfig(components=3).fingerprint
    with pytest.raises(ValidationError, match="bare fractions"):
        TrainConfig(components=2, likelihood="multinomial")
