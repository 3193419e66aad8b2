"""What goes wrong in an exposure: trails, glare, dead strips. A matter of telescope and moment, not of the galaxy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gzflow.simulation import chance
from gzflow.simulation.telescopes import Telescope

FLAWS = ("none", "trail", "glare", "missing-band")
NONE, TRAIL, GLARE, MISSING_BAND = range(4)
SHARE = 0.04
"""Of all exposures that are flawed."""


def flaws(seeds: ArrayLike, telescope: Telescope) -> NDArray[np.int64]:
    """(n,) index into `FLAWS` of each galaxy's exposure."""
    u = chance.uniforms(seeds, f"flaw {telescope.name}")
    return np.where(u < SHARE, 1 + np.floor(u / SHARE * 3).astype(np.int64).clip(0, 2), NONE)


def flaw_of(seed: int, telescope: Telescope) -> int:
    """Index into `FLAWS` of one galaxy's exposure."""
    return int(flaws([seed], telescope)[0])


def add_flaw(image: NDArray[np.float32], telescope: Telescope, pixscale: float, flaw: int, seed: int) -> None:
    """Spoil an image (bands, H, W) in place."""
    if flaw == NONE:
        return
    rng = chance.generator(seed, telescope.name, "flaw")
    n = image.shape[-1]
    noise = telescope.noise[:, None, None].astype(np.float32)
    y, x = (np.mgrid[:n, :n].astype(np.float32) - (n - 1) / 2) / n
    angle = rng.uniform(0, np.pi)
    if flaw == TRAIL:
        across = x * np.cos(angle) + y * np.sin(angle) - rng.uniform(-0.12, 0.12)
        width = max(0.7, 0.6 * telescope.psf_fwhm / pixscale) / n
        bands = np.full(len(image), 0.4 * rng.random(), np.float32)
        bands[rng.integers(len(image))] += 1.0
        image += rng.uniform(15, 60) * noise * bands[:, None, None] * np.exp(-np.minimum((across / width) ** 2, 60))
    elif flaw == GLARE:
        cx, cy = rng.uniform(0.08, 0.3) * np.array([np.cos(angle), np.sin(angle)])
        r = np.hypot(x - cx, y - cy)
        light = 900 * np.exp(-r / 0.05) + 45 * np.exp(-r / 0.22)
        for turn in (np.pi / 4, 3 * np.pi / 4):
            u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
            v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
            light = light + 220 * np.exp(-np.abs(u) / 0.15 - (v / 0.008) ** 2)
        image += noise * light.astype(np.float32)
    else:
        band = int(rng.integers(len(image)))
        strip = np.abs(x * np.cos(angle) + y * np.sin(angle)) < rng.uniform(0.1, 0.3)
        image[band] = np.where(strip, 0.0, image[band])
        image[(band + 1) % len(image)] += np.where(strip, 25 * noise[band], 0.0)
