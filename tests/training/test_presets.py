"""Presets, a user's file over them, and what the options that presets use do to a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import get_model

from gzflow.errors import SettingsError, TrainingError
from gzflow.model.encoders import require_encoder
from gzflow.model.morphology import Morphology
from gzflow.prediction.predict import predict_shard
from gzflow.shards.reader import ShardSet
from gzflow.training.config import FineTuneConfig, TrainConfig
from gzflow.training.presets import PRESETS, configured
from gzflow.training.trainer import train


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_is_a_valid_configuration_with_an_encoder_that_there_is(name: str) -> None:
    config = configured(TrainConfig, preset=name)
    if config.encoder.startswith("timm:"):
        pytest.importorskip("timm")
    require_encoder(config.encoder)


def test_the_papers_numbers() -> None:
    w21, w20 = configured(TrainConfig, preset="w21"), configured(TrainConfig, preset="w20")
    assert (w21.encoder, w21.batch_size, w21.patience, w21.grey) == ("efficientnet_b0", 128, 10, True)
    assert (w21.concentrations, w21.likelihood) == ((1, 101), "dirichlet-multinomial")
    assert (w20.encoder, w20.likelihood, w20.samples, w20.dropout) == ("w20", "multinomial", 15, 0.5)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mine.toml", 'preset = "w21"\nepochs = 7\nlr = 1e-4\nzoom = [0.8, 1.2]\n'),
        ("mine.yaml", "preset: w21\nepochs: 7\nlr: 1e-4\nzoom: [0.8, 1.2]\n"),
    ],
)
def test_given_options_are_over_the_file_and_the_file_over_the_preset(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    config = configured(TrainConfig, file=tmp_path / name, given={"epochs": 9, "seed": None})
    assert (config.batch_size, config.grey, config.lr, config.zoom) == (128, True, 1e-4, (0.8, 1.2))
    assert (config.epochs, config.seed) == (9, 42)
    # A preset on the command line stands in for the file's.
    assert configured(TrainConfig, preset="small", file=tmp_path / name).encoder == "shufflenet_v2_x0_5"


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('preset = "w22"\nepoch = 7\nlr = -1.0\n', "utf-8")
    with pytest.raises(SettingsError) as caught:
        configured(TrainConfig, file=file, given={"dropout": 2})
    for words in ("no preset 'w22'", "epoch: Extra", "lr: ", "dropout: ", "zoobot, calibrated, small", str(file)):
        assert words in str(caught.value)
    with pytest.raises(SettingsError, match="- components: bare fractions have none"):
        configured(TrainConfig, preset="w20", given={"components": 3})


@pytest.mark.parametrize(
    ("name", "text"), [("a.toml", "epochs = "), ("a.yml", "epochs: [1"), ("a.yml", "- 1"), ("none.toml", None)]
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str, text: str | None) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(SettingsError, match=name):
        configured(TrainConfig, file=tmp_path / name)


def test_new_options_leave_the_fingerprint_of_older_runs_alone() -> None:
    plain = TrainConfig()
    assert plain.fingerprint == TrainConfig(samples=20).fingerprint
    # What runs did before there was a second training of the head.
    assert TrainConfig(head_epochs=0).fingerprint == "a2d4be9dd9a7625c"
    assert plain.fingerprint != TrainConfig(grey=True).fingerprint
    assert FineTuneConfig().fingerprint != plain.fingerprint


def test_w20_learns_fractions_from_grey_images_and_says_so_in_its_file(toy_set: ShardSet, tmp_path: Path) -> None:
    config = configured(TrainConfig, preset="w20", given={"epochs": 12, "batch_size": 16})
    result = train(toy_set, config, tmp_path)
    assert result.history[result.best_epoch]["validation_loss"] < result.baseline["loss"]
    spec = json.loads((result.folder / "model.json").read_text("utf-8"))
    assert spec["grey"] is True
    assert len(spec["mean"]) == 1
    assert spec["training"]["likelihood"] == "multinomial"
    assert spec["training"] == result.config.model_dump(mode="json")
    part = predict_shard(Morphology.load(result.folder), next(iter(toy_set.readers("test"))), n_samples=15)
    total = np.add.reduceat(part.concentrations, [0, 3], axis=2)
    np.testing.assert_allclose(total, 10_000, rtol=1e-5)
    assert part.concentrations.std(1).max() > 0


def test_a_grey_model_does_not_see_colour(toy_set: ShardSet, tmp_path: Path) -> None:
    config = TrainConfig(encoder="shufflenet_v2_x0_5", epochs=1, grey=True, batch_size=32)
    model = train(toy_set, config, tmp_path).model
    images = np.random.default_rng(1).integers(0, 255, (3, 24, 24, 3), np.uint8)
    with torch.no_grad():
        torch.testing.assert_close(model(images), model(np.ascontiguousarray(images[..., ::-1])))


def test_training_starts_from_a_local_file(toy_set: ShardSet, tmp_path: Path) -> None:
    path = tmp_path / "imagenet.safetensors"
    save_file(get_model("shufflenet_v2_x0_5", weights=None).state_dict(), path)
    config = TrainConfig(encoder="shufflenet_v2_x0_5", epochs=1, batch_size=32, lr=1e-12, average=0)
    found = train(toy_set, config.model_copy(update={"encoder_weights": str(path)}), tmp_path / "run")
    started = get_model("shufflenet_v2_x0_5", weights=None)
    started.load_state_dict(load_file(path))
    torch.testing.assert_close(found.model.encoder.conv1[0].weight, started.conv1[0].weight, rtol=0, atol=1e-6)
    with pytest.raises(TrainingError, match="cannot be read"):
        train(toy_set, config.model_copy(update={"encoder_weights": str(tmp_path / "no")}), tmp_path / "other")
