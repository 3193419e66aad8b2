from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gzflow.errors import PredictionError, RecipeMismatch
from gzflow.model.encoders import build_encoder
from gzflow.model.morphology import Morphology
from gzflow.model.spec import RANGE, ModelSpec, SurveyTree
from gzflow.posterior import fractions
from gzflow.prediction.folding import folded
from gzflow.prediction.predict import Predictor, predict_shard
from gzflow.recipe import ImageRecipe
from gzflow.shards.header import ShardHeader
from gzflow.shards.reader import ShardReader
from gzflow.shards.writer import write_shard
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree((Question("shape", ("round", "disk", "odd")), Question("bar", ("yes", "no"), ("shape=disk",))))
N = 21


@pytest.fixture(scope="module")
def model() -> Morphology:
    spec = ModelSpec(
        encoder="mobilenet_v3_small",
        trees=(SurveyTree(survey="toy", tree=TREE.to_dict()),),
        recipe=ImageRecipe(pixels=40),
        input_pixels=32,
        mean=(90.0, 90.0, 90.0),
        std=(60.0, 60.0, 60.0),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Morphology(spec)
        unsettle(made)
    return made.eval()


def unsettle(module: nn.Module) -> None:
    """Batch normalisations that do something, as after training."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.5, 1.5)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> ShardReader:
    return shard(tmp_path_factory.mktemp("shards") / "test-00000.h5")


def shard(path: Path, **recipe: object) -> ShardReader:
    rng = np.random.default_rng(1)
    header = ShardHeader(
        survey="toy", tree=TREE.to_dict(), recipe=ImageRecipe(**{"pixels": 40, **recipe}), split="test"
    )
    write_shard(
        path,
        header,
        images=rng.integers(0, 255, (N, *header.image_shape), np.uint8),
        votes=np.zeros((N, 5), np.int32),
        ids=[f"J{i:04d}" for i in range(N)],
        ra=np.r_[np.nan, np.linspace(0, 359, N - 1)],
        dec=np.r_[np.nan, np.linspace(-80, 80, N - 1)],
        pixscale=np.full(N, np.nan),
    )
    return ShardReader(path)


def test_every_galaxy_comes_out_once_and_in_order(model: Morphology, reader: ShardReader) -> None:
    seen: list[tuple[int, int]] = []
    part = Predictor(model, device="cpu", batch_size=8).predict(
        reader, n_samples=3, on_batch=lambda done, n: seen.append((done, n))
    )
    assert part.ids == reader.ids
    np.testing.assert_array_equal(part.ra, reader.ra)
    np.testing.assert_array_equal(part.dec, reader.dec)
    assert part.concentrations.shape == (N, 3, 5)
    assert part.concentrations.dtype == np.float32
    assert part.recipe_differences == ()
    assert seen == [(8, 21), (16, 21), (21, 21)]


def test_predictions_are_those_of_the_model(model: Morphology, reader: ShardReader) -> None:
    part = predict_shard(model, reader, n_samples=2000, batch_size=7, device="cpu")
    with torch.no_grad():
        plain = model(reader.images(slice(None)))
    low, high = RANGE
    logits = np.log((part.concentrations - low) / (high - part.concentrations)).mean(1)
    np.testing.assert_allclose(logits, torch.logit((plain - low) / (high - low)).numpy(), atol=0.03)
    assert (part.concentrations.std(1) > 0).all()


def test_a_second_prediction_is_equal_bit_for_bit(model: Morphology, reader: ShardReader) -> None:
    one = predict_shard(model, reader, n_samples=4, batch_size=8, device="cpu")
    torch.manual_seed(5)
    two = predict_shard(model, reader, n_samples=4, batch_size=8, device="cpu")
    assert np.array_equal(one.concentrations, two.concentrations)
    other = predict_shard(model, reader, n_samples=4, batch_size=8, device="cpu", seed=1)
    assert not np.array_equal(one.concentrations, other.concentrations)


def test_batch_size_does_not_matter_beyond_rounding(model: Morphology, reader: ShardReader) -> None:
    one = predict_shard(model, reader, n_samples=4, batch_size=1, device="cpu")
    two = predict_shard(model, reader, n_samples=4, batch_size=64, device="cpu")
    np.testing.assert_allclose(one.concentrations, two.concentrations, rtol=1e-4)


def test_bfloat16_moves_fractions_little(model: Morphology, reader: ShardReader) -> None:
    exact = predict_shard(model, reader, n_samples=4, device="cpu", precision="float32")
    rough = predict_shard(model, reader, n_samples=4, device="cpu", precision="bfloat16")
    difference = fractions(exact.concentrations, TREE) - fractions(rough.concentrations, TREE)
    assert 0 < np.abs(difference).max() < 0.01


def test_the_model_given_is_left_as_it_was(model: Morphology, reader: ShardReader) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    predict_shard(model, reader, n_samples=1, device="cpu")
    assert set(before) == set(model.state_dict())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_another_recipe_is_refused_or_marked(model: Morphology, tmp_path: Path) -> None:
    other = shard(tmp_path / "other.h5", pixels=48)
    with pytest.raises(RecipeMismatch, match="pixels: 40 in the model, 48 in the images"):
        predict_shard(model, other, n_samples=1, device="cpu")
    part = predict_shard(model, other, n_samples=1, device="cpu", allow_recipe_mismatch=True)
    assert len(part.recipe_differences) == 1


def test_wrong_numbers_are_named(model: Morphology, reader: ShardReader) -> None:
    with pytest.raises(PredictionError, match="n_samples is 0"):
        predict_shard(model, reader, n_samples=0, device="cpu")
    with pytest.raises(PredictionError, match="batch_size is 0"):
        predict_shard(model, reader, batch_size=0, device="cpu")


def test_a_broken_model_names_a_galaxy(model: Morphology, reader: ShardReader) -> None:
    predictor = Predictor(model, device="cpu")
    with torch.no_grad():
        predictor.model.head.linear.weight.fill_(float("nan"))
    with pytest.raises(PredictionError, match=r"no finite concentrations for 21 galaxies(.|\n)*J0000"):
        predictor.predict(reader, n_samples=2)


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "resnet18", "densenet121", "vgg11_bn", "regnet_x_400mf", "vit_b_32"]
)
def test_folding_keeps_the_answers(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder, _ = build_encoder(name, pixels=64)
        unsettle(encoder)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = encoder.eval()(images)
        faster = folded(encoder)
        torch.testing.assert_close(faster(images), wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in faster.modules())
    if name not in {"densenet121", "vit_b_32"}:
        assert norms == 0


def test_an_encoder_that_cannot_be_traced_is_used_as_it_is() -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    encoder = Branching()
    assert folded(encoder) is encoder
