from __future__ import annotations

import pytest
import torch

from gzflow.model.blocks import encoder_blocks
from gzflow.model.encoders import build_encoder

FAMILIES = {
    "alexnet": (64, 3),
    "convnext_tiny": (32, 5),
    "densenet121": (32, 5),
    "efficientnet_b0": (32, 9),
    "googlenet": (32, 10),
    "inception_v3": (96, 12),
    "maxvit_t": (224, 6),
    "mnasnet0_5": (32, 8),
    "mobilenet_v2": (32, 19),
    "mobilenet_v3_small": (32, 13),
    "regnet_y_400mf": (32, 5),
    "resnet18": (32, 5),
    "shufflenet_v2_x0_5": (32, 5),
    "squeezenet1_1": (32, 9),
    "swin_t": (32, 5),
    "swin_v2_t": (32, 5),
    "vgg11_bn": (32, 5),
    "vit_b_32": (32, 13),
}
"""Of each torchvision family: the side it is built for, and its number of blocks."""


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_belongs_to_one_block(name: str) -> None:
    pixels, n_blocks = FAMILIES[name]
    with torch.device("meta") if name.startswith("vgg") else torch.device("cpu"):
        encoder = build_encoder(name, pixels=pixels)[0]
    blocks = encoder_blocks(encoder)
    assert len(blocks) == n_blocks
    of_blocks = [id(parameter) for block in blocks for parameter in block.parameters()]
    assert sorted(of_blocks) == sorted(id(parameter) for parameter in encoder.parameters())
    assert blocks[0].name == "stem"
    assert len({block.name for block in blocks}) == n_blocks
    # Running statistics, too, have one block each.
    buffers = [id(buffer) for block in blocks for module in block.modules for buffer in module.buffers()]
    assert sorted(buffers) == sorted(id(buffer) for buffer in encoder.buffers())


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("resnet18", ["stem", "layer1", "layer2", "layer3", "layer4"]),
        ("convnext_tiny", ["stem", "features.1", "features.3", "features.5", "features.7"]),
        ("efficientnet_b0", ["stem", *(f"features.{i}" for i in range(1, 9))]),
        ("regnet_y_400mf", ["stem", *(f"trunk_output.block{i}" for i in range(1, 5))]),
        ("densenet121", ["stem", *(f"features.denseblock{i}" for i in range(1, 5))]),
    ],
)
def test_blocks_are_the_stages(name: str, names: list[str]) -> None:
    assert [block.name for block in encoder_blocks(build_encoder(name, pixels=32)[0])] == names


@pytest.mark.parametrize("name", ["convnext_tiny", "resnet18", "efficientnet_b0", "vit_b_32", "swin_t", "vgg11_bn"])
def test_blocks_stand_in_the_order_in_which_images_pass_them(name: str) -> None:
    """What a block computes depends on no block above it: disturbing the top leaves all features below as they were."""
    encoder = build_encoder(name, pixels=32)[0].eval()
    passed: list[int] = []
    for i, block in enumerate(encoder_blocks(encoder)):
        for module in block.modules:
            module.register_forward_hook(lambda *_, i=i: passed.append(i))
    with torch.inference_mode():
        encoder(torch.zeros(1, 3, 32, 32))
    assert passed == sorted(passed)
    assert set(passed) == set(range(len(encoder_blocks(encoder))))


def test_a_transformers_class_token_and_positions_are_in_its_stem() -> None:
    encoder = build_encoder("vit_b_32", pixels=32)[0]
    stem = {id(parameter) for parameter in encoder_blocks(encoder)[0].parameters()}
    assert {id(encoder.class_token), id(encoder.encoder.pos_embedding)} < stem


def test_a_transformers_last_normalisation_is_in_its_last_block() -> None:
    encoder = build_encoder("vit_b_32", pixels=32)[0]
    last = {id(parameter) for parameter in encoder_blocks(encoder)[-1].parameters()}
    assert id(encoder.encoder.ln.weight) in last
