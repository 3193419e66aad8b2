"""Names and values as MLflow accepts them, the same in every run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LONGEST_PARAM = 6000
_FORBIDDEN = re.compile(r"[^\w\-. /]", re.ASCII)


def metric_key(name: str) -> str:
    """A metric's key: ``train_loss`` -> ``train/loss``, ``validation_nll/bar`` -> ``val/nll/bar``, the rest as it is.

    Characters that MLflow refuses become ``_``.
    """
    for prefix, short in (("train_", "train/"), ("validation_", "val/")):
        if name.startswith(prefix):
            name = short + name.removeprefix(prefix)
    return _FORBIDDEN.sub("_", name)


def flat_params(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters as one level of text: ``{"optimiser": {"lr": 0.1}}`` -> ``{"optimiser.lr": "0.1"}``."""
    flat: dict[str, str] = {}
    for name, value in params.items():
        key = f"{prefix}{_FORBIDDEN.sub('_', str(name))}"
        if isinstance(value, Mapping):
            flat |= flat_params(value, f"{key}.")
        else:
            text = str(value)
            flat[key] = text if len(text) <= LONGEST_PARAM else f"{text[: LONGEST_PARAM - 1]}…"
    return flat
