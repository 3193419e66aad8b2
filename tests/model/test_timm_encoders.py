"""Encoders of timm, with files in the layout of the hub's own cache: nothing here asks the network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gzflow.errors import ModelError
from gzflow.model.blocks import encoder_blocks
from gzflow.model.encoders import build_encoder, require_encoder, starting_point

timm = pytest.importorskip("timm")

NAME = "test_convnext"
REPOSITORY = "mwalmsley/zoobot-encoder-convnext_nano"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
Cache = Callable[..., nn.Module]


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """Puts an encoder where the hub's client keeps what it once fetched; returns the network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def put(channels: int = 3, **description: object) -> nn.Module:
        network: nn.Module = timm.create_model(NAME, num_classes=0, in_chans=channels).eval()
        folder = tmp_path / f"models--{REPOSITORY.replace('/', '--')}"
        snapshot = folder / "snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(COMMIT, "utf-8")
        text = {"architecture": NAME, "num_classes": 0, "pretrained_cfg": {"input_size": [channels, 224, 224]}}
        (snapshot / "config.json").write_text(json.dumps(text | description), "utf-8")
        save_file(network.state_dict(), snapshot / "model.safetensors")
        return network

    return put


@pytest.mark.parametrize("channels", [1, 3])
def test_an_encoder_of_the_hub_gives_the_features_it_gave_there(cached: Cache, channels: int) -> None:
    theirs = cached(channels)
    start = starting_point(f"timm:hf_hub:{REPOSITORY}")
    assert start.encoder == f"timm:{NAME}"
    ours, dim = build_encoder(start.encoder, 3, start.weights, pixels=64, arguments=start.arguments)
    grey = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        wanted = theirs(grey.expand(-1, channels, -1, -1))
        torch.testing.assert_close(ours.eval()(grey.expand(-1, 3, -1, -1)), wanted, rtol=1e-4, atol=1e-4)
    assert wanted.shape == (2, dim)


def test_arguments_of_the_architecture_are_taken_but_for_those_decided_here(cached: Cache) -> None:
    cached(model_args={"drop_path_rate": 0.1, "num_classes": 10})
    assert starting_point(f"timm:hf_hub:{REPOSITORY}").arguments == {"drop_path_rate": 0.1}


def test_an_unknown_architecture_and_an_empty_cache_are_explained(cached: Cache) -> None:
    with pytest.raises(ModelError, match=r"cannot be had from the hub(.|\n)*huggingface-cli download"):
        starting_point(f"timm:hf_hub:{REPOSITORY}")
    cached(architecture="convnext_of_tomorrow")
    with pytest.raises(ModelError, match="convnext_of_tomorrow"):
        starting_point(f"timm:hf_hub:{REPOSITORY}")


def test_a_local_file_starts_a_timm_encoder(tmp_path: Path) -> None:
    classifier = timm.create_model(NAME, num_classes=1000).eval()
    save_file(classifier.state_dict(), tmp_path / "imagenet.safetensors")
    encoder, _ = build_encoder(f"timm:{NAME}", 3, tmp_path / "imagenet.safetensors", pixels=64)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        wanted = classifier.forward_head(classifier.forward_features(images), pre_logits=True)
        torch.testing.assert_close(encoder.eval()(images), wanted)


@pytest.mark.parametrize(
    "name", ["convnext_nano", "efficientnet_b0", "resnet18", "regnety_002", "vit_tiny_patch16_224", "test_convnext"]
)
def test_blocks_of_a_timm_network_hold_every_weight_once(name: str) -> None:
    encoder, _ = build_encoder(f"timm:{name}", 1, pixels=64)
    blocks = encoder_blocks(encoder)
    found = [id(parameter) for block in blocks for parameter in block.parameters()]
    assert sorted(found) == sorted(id(parameter) for parameter in encoder.parameters())
    assert blocks[0].name == "stem"
    assert len(blocks) >= 5


@pytest.mark.parametrize(
    ("name", "words"),
    [("timm:convnext-nano", "convnext_nano"), ("timm:hf_hub:zoobot", "names no repository of the hub")],
)
def test_unknown_names_are_refused(name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        require_encoder(name)
