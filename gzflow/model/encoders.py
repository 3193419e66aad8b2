"""Any torchvision classifier as an encoder: image -> features, its classifier taken off."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gzflow.errors import ModelError


def encoder_names() -> list[str]:
    """Names of all encoders there are."""
    return torchvision.models.list_models(module=torchvision.models)


def require_encoder(name: str) -> None:
    """Refuse a name that no encoder has.

    Raises
    ------
    ModelError
        With the nearest known ones.
    """
    known = encoder_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.4)
        raise ModelError(
            f"there is no encoder {name!r}",
            expected="the name of a torchvision classifier" + (f", such as {', '.join(near)}" if near else ""),
            fix="see gzflow.model.encoders.encoder_names() for all of them",
        )


def build_encoder(
    name: str,
    channels: int = 3,
    weights: Path | None = None,
    *,
    pixels: int = 224,
    stem_stride: int | None = None,
) -> tuple[nn.Module, int]:
    """A module that maps (n, channels, pixels, pixels) images to (n, d) features, and d.

    Parameters
    ----------
    name
        A torchvision classifier, such as ``efficientnet_b0``, ``resnet18`` or ``convnext_tiny``.
    channels
        3 for colour, 1 for grey.
    weights
        A safetensors file with the state of the whole torchvision classifier, or of an encoder built here. Its first
        convolution is summed over the colours when `channels` is 1. None: random weights.
    pixels
        Side of the images that will come; transformers with fixed position tables are built for it.
    stem_stride
        Stride of the first convolution; None keeps the architecture's own. 1 keeps twice the resolution all the way
        through a network made for larger images, at four times the cost.

    Raises
    ------
    ModelError
        An unknown name (with the nearest known ones), images too small for the architecture, weights that do not fit.
    """
    require_encoder(name)
    try:
        network: nn.Module = torchvision.models.get_model(name, weights=None, **_options(name, pixels))
    except ValueError as error:
        raise _wrong_size(name, pixels, error) from error
    _remove_classifier(network)
    stem = _first_convolution(network)
    if stem is not None and stem_stride is not None:
        stem.stride = (stem_stride, stem_stride)
    if weights is not None:
        _load_weights(network, weights)
    if channels != 3:
        _change_channels(network, channels)
    return network, _feature_count(network, name, channels, pixels)


def _options(name: str, pixels: int) -> dict[str, Any]:
    if name in {"googlenet", "inception_v3"}:
        return {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        return {"image_size": pixels}
    return {"input_size": (pixels, pixels)} if name.startswith("maxvit") else {}


def _remove_classifier(network: nn.Module) -> None:
    """Put an identity in place of the last layer with weights, and of a dropout right before it."""
    leaves = [path for path, module in network.named_modules() if not list(module.children())]
    last = max(i for i, path in enumerate(leaves) if isinstance(network.get_submodule(path), nn.Linear | nn.Conv2d))
    _replace(network, leaves[last], nn.Identity())
    if isinstance(network.get_submodule(leaves[last - 1]), nn.Dropout):
        _replace(network, leaves[last - 1], nn.Identity())


def _replace(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, attribute = path.rpartition(".")
    setattr(network.get_submodule(parent), attribute, module)


def _first_convolution(network: nn.Module) -> nn.Conv2d | None:
    return next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)


def _change_channels(network: nn.Module, channels: int) -> None:
    for path, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            changed = nn.Conv2d(
                channels,
                module.out_channels,
                kernel_size=module.kernel_size,
                stride=module.stride,
                padding=module.padding,
                bias=module.bias is not None,
            )
            with torch.no_grad():
                # A grey image repeated three times would give the same response, so loaded weights keep their meaning.
                changed.weight.copy_(module.weight.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels)
                if module.bias is not None and changed.bias is not None:
                    changed.bias.copy_(module.bias)
            _replace(network, path, changed)
            return


def _load_weights(network: nn.Module, path: Path) -> None:
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            "the encoder's weights cannot be read",
            where=str(path),
            expected="a safetensors file",
            fix="save a torchvision state_dict with safetensors.torch.save_file(state, path)",
        ) from error
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in state]
    shapes = [
        f"{key}: {tuple(state[key].shape)} in the file, {tuple(wanted[key].shape)} in the network"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    if missing or shapes:
        more = [f"{len(missing)} tensors are not in the file, such as {', '.join(missing[:3])}"] if missing else []
        raise ModelError(
            "the weights are of another network",
            where=str(path),
            problems=[*more, *shapes[:5]],
            expected="the state of the same torchvision classifier",
        )
    network.load_state_dict({key: state[key] for key in wanted})


def _feature_count(network: nn.Module, name: str, channels: int, pixels: int) -> int:
    was_training = network.training
    try:
        with torch.no_grad():
            features: Tensor = network.eval()(torch.zeros(1, channels, pixels, pixels))
    except (RuntimeError, ValueError) as error:
        raise _wrong_size(name, pixels, error) from error
    finally:
        network.train(was_training)
    if features.ndim != 2:
        raise ModelError(f"encoder {name!r} gives features of shape {tuple(features.shape)}", expected="(n, d)")
    return int(features.shape[1])


def _wrong_size(name: str, pixels: int, error: Exception) -> ModelError:
    return ModelError(
        f"encoder {name!r} cannot take images of {pixels} pixels: {error}",
        fix="make shards of another size, or choose an encoder that takes any, such as efficientnet_b0 or resnet18",
    )
