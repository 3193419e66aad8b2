"""Any torchvision or timm classifier as an encoder: image -> features, its classifier taken off."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gzflow.errors import ModelError
from gzflow.model import w20
from gzflow.model.timm_encoders import HUB, PREFIX, hub_encoder, require_timm_encoder, timm_network


@dataclass(frozen=True)
class Start:
    """Where an encoder starts from.

    Attributes
    ----------
    encoder
        What builds the architecture again, without any hub.
    arguments
        Of the architecture; timm's alone have some.
    weights
        A safetensors file; None is a random start.
    """

    encoder: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None


def starting_point(encoder: str, weights: Path | None = None) -> Start:
    """What an encoder's name stands for: ``timm:hf_hub:owner/name`` is an architecture and its weights.

    Raises
    ------
    ModelError
        The hub's encoder cannot be had.
    """
    if encoder.startswith(PREFIX + HUB):
        architecture, arguments, stored = hub_encoder(encoder.removeprefix(PREFIX + HUB))
        return Start(PREFIX + architecture, arguments, weights or stored)
    return Start(encoder, weights=weights)


def encoder_names() -> list[str]:
    """Names of all encoders there are, but for timm's."""
    return [*torchvision.models.list_models(module=torchvision.models), w20.NAME]


def require_encoder(name: str) -> None:
    """Refuse a name that no encoder has.

    Raises
    ------
    ModelError
        With the nearest known ones.
    """
    if name.startswith(PREFIX):
        require_timm_encoder(name.removeprefix(PREFIX))
        return
    known = encoder_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.4)
        raise ModelError(
            f"there is no encoder {name!r}",
            expected="the name of a torchvision classifier, or timm:NAME"
            + (f", such as {', '.join(near)}" if near else ""),
            fix="see gzflow.model.encoders.encoder_names() for all of them",
        )


def build_encoder(
    name: str,
    channels: int = 3,
    weights: Path | None = None,
    *,
    pixels: int = 224,
    stem_stride: int | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> tuple[nn.Module, int]:
    """A module that maps (n, channels, pixels, pixels) images to (n, d) features, and d.

    Parameters
    ----------
    name
        A torchvision classifier, such as ``efficientnet_b0``, ``resnet18`` or ``convnext_tiny``; ``timm:NAME``;
        ``w20``.
    channels
        3 for colour, 1 for grey.
    weights
        A safetensors file with the state of the whole classifier, or of an encoder built here. Its first convolution
        is summed over the colours when `channels` is 1, and shared among them when only the file's is grey. None:
        random weights.
    pixels
        Side of the images that will come; transformers with fixed position tables are built for it.
    stem_stride
        Stride of the first convolution; None keeps the architecture's own. 1 keeps twice the resolution all the way
        through a network made for larger images, at four times the cost.
    arguments
        Of a timm architecture; see `Start`.

    Raises
    ------
    ModelError
        An unknown name (with the nearest known ones), images too small for the architecture, weights that do not fit.
    """
    require_encoder(name)
    try:
        network = _network(name, channels, pixels, dict(arguments or {}))
    except (ValueError, AssertionError) as error:
        raise _wrong_size(name, pixels, error) from error
    stem = _first_convolution(network)
    if stem is not None and stem_stride is not None:
        stem[1].stride = (stem_stride, stem_stride)
    if weights is not None:
        _load_weights(network, weights, f"{stem[0]}.weight" if stem is not None else None)
    return network, _feature_count(network, name, channels, pixels)


def _network(name: str, channels: int, pixels: int, arguments: dict[str, Any]) -> nn.Module:
    if name.startswith(PREFIX):
        return timm_network(name.removeprefix(PREFIX), channels, pixels, arguments)
    if name == w20.NAME:
        return w20.W20Encoder(channels, pixels)
    network: nn.Module = torchvision.models.get_model(name, weights=None, **_options(name, pixels))
    _remove_classifier(network)
    if channels != 3:
        _change_channels(network, channels)
    return network


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


def _first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d] | None:
    return next(((path, one) for path, one in network.named_modules() if isinstance(one, nn.Conv2d)), None)


def _change_channels(network: nn.Module, channels: int) -> None:
    found = _first_convolution(network)
    if found is None:
        return
    path, stem = found
    changed = nn.Conv2d(
        channels,
        stem.out_channels,
        kernel_size=stem.kernel_size,
        stride=stem.stride,
        padding=stem.padding,
        bias=stem.bias is not None,
    )
    with torch.no_grad():
        changed.weight.copy_(_shared(stem.weight, channels))
        if stem.bias is not None and changed.bias is not None:
            changed.bias.copy_(stem.bias)
    _replace(network, path, changed)


def _shared(weight: Tensor, channels: int) -> Tensor:
    """A first convolution for other channels: a grey image, repeated in each, gives the same response as before."""
    return weight.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels


def _load_weights(network: nn.Module, path: Path, stem: str | None) -> None:
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            "the encoder's weights cannot be read",
            where=str(path),
            expected="a safetensors file",
            fix="save a torchvision or timm state_dict with safetensors.torch.save_file(state, path)",
        ) from error
    wanted = network.state_dict()
    if stem in state and state[stem].shape[1:2] != wanted[stem].shape[1:2] and state[stem].ndim == 4:
        state[stem] = _shared(state[stem], wanted[stem].shape[1])
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
            expected="the state of the same classifier",
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
