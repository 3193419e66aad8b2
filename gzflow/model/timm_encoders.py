"""Encoders from timm, by name or from the Hugging Face hub; timm is an extra and is imported when it is asked for."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from torch import nn

from gzflow.errors import ModelError

PREFIX = "timm:"
HUB = "hf_hub:"
_TAKEN = {"num_classes", "in_chans", "pretrained", "img_size"}
"""Arguments of a hub's configuration that are decided here."""


def require_timm_encoder(name: str) -> None:
    """Refuse a name, without its prefix, that timm does not know; one on the hub is looked at when it is loaded.

    Raises
    ------
    ModelError
        With the nearest known names; timm is not installed.
    """
    timm = _timm()
    if name.startswith(HUB):
        if name.removeprefix(HUB).count("/") != 1:
            raise ModelError(
                f"{PREFIX}{name} names no repository of the hub",
                expected=f"{PREFIX}{HUB}owner/name, such as {PREFIX}{HUB}mwalmsley/zoobot-encoder-convnext_nano",
            )
    elif not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.4)
        raise ModelError(
            f"timm has no model {name!r}",
            expected="a name that timm.list_models() lists" + (f", such as {', '.join(near)}" if near else ""),
        )


def hub_encoder(repository: str) -> tuple[str, dict[str, Any], Path]:
    """Architecture, its arguments and the weights' file of ``owner/name`` on the hub, from its cache where they are.

    Only ``config.json`` and ``model.safetensors`` are taken: nothing is unpickled.

    Raises
    ------
    ModelError
        They cannot be had, or describe no timm model.
    """
    timm = _timm()
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        description = json.loads(Path(hf_hub_download(repository, "config.json")).read_text("utf-8"))
        weights = Path(hf_hub_download(repository, "model.safetensors"))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"the encoder {repository} cannot be had from the hub: {error}",
            expected="config.json and model.safetensors, from the network or the hub's cache (HF_HOME)",
            fix="fetch it once with a network: huggingface-cli download " + repository,
        ) from error
    architecture = description.get("architecture")
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        raise ModelError(
            f"{repository} is of architecture {architecture!r}, which this timm does not have",
            fix="install the timm that its authors used, or a newer one",
        )
    arguments = description.get("model_args") or {}
    return architecture, {key: value for key, value in arguments.items() if key not in _TAKEN}, weights


def timm_network(name: str, channels: int, pixels: int, arguments: dict[str, Any]) -> nn.Module:
    """A timm network without its classifier, with random weights."""
    timm = _timm()
    require_timm_encoder(name)
    chosen = {"pretrained": False, "num_classes": 0, "in_chans": channels} | arguments
    try:
        # Transformers with fixed position tables are built for the size; others do not take the word.
        network: nn.Module = timm.create_model(name, img_size=pixels, **chosen)
    except TypeError:
        network = timm.create_model(name, **chosen)
    return network


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ModelError(
            "encoders of timm need timm", expected="the extra `timm`", fix="pip install 'gzflow[timm]'"
        ) from error
    return timm
