"""What a camera leaves in every picture, whatever galaxy is in it: sky, noise, sharpness, brightness, colour."""

from __future__ import annotations

import torch
from torch import Tensor

from gzflow.dictionary import STATISTICS

_LINES = 32
"""Most lines of a picture that are looked at; more would cost time and tell little."""
_SKY_LINES = 8
_DARK, _BRIGHT = 2, 250


def statistic_names(n: int) -> tuple[str, ...]:
    """Names of the n columns that `image_statistics` gives."""
    return tuple(STATISTICS)[:n]


def image_statistics(images: Tensor) -> Tensor:
    """(n, n_statistics) float32 of uint8 (n, H, W, C) pictures; `STATISTICS` says which.

    Seeing, depth, pixel scale, stretch and compression all show in them. They are cheap on purpose: at most 32 lines
    of a picture are read, and 8 at its edges for the sky.

    Notes
    -----
    Second differences cancel what light there is and keep the grain (Immerkaer 1996, CVIU 64, 300, does so with a
    Laplacian for the noise of any picture).
    """
    lines = images[:, :: -(-images.shape[1] // _LINES)]
    sky_lines = _grey(torch.cat((images[:, : _SKY_LINES // 2], images[:, -_SKY_LINES // 2 :]), 1).float())
    values = lines.float()
    grey = _grey(values)
    sky = sky_lines[..., ::2].flatten(1).median(1).values
    fine, coarse = (_second_difference(sky_lines, step) for step in (1, 2))
    brightness = _mean(grey)
    h, w = grey.shape[1] // 4, grey.shape[2] // 4
    middle = grey[:, h : grey.shape[1] - h, w : grey.shape[2] - w]
    near, far = (_mean((middle[..., step:] - middle[..., :-step]).abs()) for step in (1, 4))
    light, core = (brightness - sky).clamp(min=0), (_mean(middle) - sky).clamp(min=0)
    columns = [
        sky,
        fine.log1p(),
        ((coarse + 0.1) / (fine + 0.1)).log(),
        brightness,
        (_mean(grey.square()) - brightness.square()).clamp(min=0).sqrt(),
        ((near + 0.1) / (far + 0.1)).log(),
        ((core + 1) / (light + 1)).log(),
        _mean((lines >= _BRIGHT).flatten(2).float()),
        _mean((lines <= _DARK).flatten(2).float()),
    ]
    if images.shape[3] > 1:
        columns.append(_mean(values[..., 0] - values[..., -1]))
    return torch.stack(columns, 1)


def _grey(values: Tensor) -> Tensor:
    # A product is several times as fast as a mean over an axis of three.
    n_channels = values.shape[-1]
    return values @ values.new_full((n_channels,), 1 / n_channels)


def _mean(values: Tensor) -> Tensor:
    """(n,) means of (n, lines, width)."""
    return values.flatten(1).mean(1)


def _second_difference(lines: Tensor, step: int) -> Tensor:
    """(n,) mean absolute second differences along (n, lines, width)."""
    second = lines[..., 2 * step :] - 2 * lines[..., step:-step] + lines[..., : -2 * step]
    return _mean(second.abs())
