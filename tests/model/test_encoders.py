from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model

from gzflow.errors import ModelError
from gzflow.model.encoders import build_encoder, encoder_names

SMALL = [
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "vit_b_32",
]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_family_gives_flat_features(name: str, channels: int) -> None:
    encoder, dim = build_encoder(name, channels, pixels=64)
    with torch.no_grad():
        features = encoder.eval()(torch.rand(2, channels, 64, 64))
    assert features.shape == (2, dim)
    leaves = [module for module in encoder.modules() if not list(module.children())]
    assert not isinstance(leaves[-1], nn.Linear | nn.Dropout)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in encoder_names() if "_l_" not in n and "_h_" not in n and "128gf" not in n])
def test_every_torchvision_classifier_can_be_an_encoder(name: str) -> None:
    _, dim = build_encoder(name, pixels=224)
    assert dim >= 64


def test_default_encoder_has_1280_features_and_keeps_no_classifier() -> None:
    encoder, dim = build_encoder("efficientnet_b0")
    assert dim == 1280
    assert sum(p.numel() for p in encoder.parameters()) == 4_007_548


def test_unknown_name_lists_near_ones() -> None:
    with pytest.raises(ModelError, match=r"no encoder 'efficientnet-b0'(.|\n)*efficientnet_b0(.|\n)*encoder_names"):
        build_encoder("efficientnet-b0")


@pytest.mark.parametrize("name", ["inception_v3", "maxvit_t"])
def test_images_too_small_for_the_architecture(name: str) -> None:
    with pytest.raises(ModelError, match=f"encoder '{name}' cannot take images of 64 pixels"):
        build_encoder(name, pixels=64)


def test_stem_stride_keeps_resolution() -> None:
    encoder, _ = build_encoder("efficientnet_b0", pixels=64, stem_stride=1)
    assert encoder.get_submodule("features")(torch.rand(1, 3, 64, 64)).shape[-1] == 4


@pytest.mark.parametrize("channels", [1, 3])
def test_weights_of_a_whole_classifier_are_taken_over(tmp_path: Path, channels: int) -> None:
    classifier = get_model("resnet18", weights=None).eval()
    save_file(classifier.state_dict(), tmp_path / "w.safetensors")
    encoder, _ = build_encoder("resnet18", channels, tmp_path / "w.safetensors", pixels=64)
    grey = torch.rand(2, 1, 64, 64)
    classifier.fc = nn.Identity()
    with torch.no_grad():
        wanted = classifier(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(encoder.eval()(grey.expand(-1, channels, -1, -1)), wanted, rtol=1e-4, atol=1e-4)


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"are not in the file(.|\n)*conv1.weight: \(64, 3, 3, 3\) in"):
        build_encoder("resnet18", 3, tmp_path / "w.safetensors")


def test_pickles_are_not_read(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"cannot be read(.|\n)*safetensors"):
        build_encoder("resnet18", 3, tmp_path / "w.pth")


@pytest.mark.parametrize("pixels", [64, 128])
def test_the_net_of_w20_is_the_papers(pixels: int) -> None:
    """Weights counted by hand: 3 x 3 x in x out + out a convolution, and the dense layer."""
    encoder, dim = build_encoder("w20", 1, pixels=pixels)
    assert dim == 128
    widths = [module.out_channels for module in encoder.modules() if isinstance(module, nn.Conv2d)]
    assert widths == [32, 32, 64, 64, 128, 128]
    ins = [1, *widths[:-1]]
    by_hand = sum(9 * i * o + o for i, o in zip(ins, widths, strict=True)) + 128 * (pixels // 16) ** 2 * 128 + 128
    assert sum(p.numel() for p in encoder.parameters()) == by_hand
