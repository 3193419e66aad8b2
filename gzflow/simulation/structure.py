"""What breaks the smoothness of a galaxy: arms, bars, rings, clumps, tides, lenses; as images of surface brightness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gzflow.simulation import chance
from gzflow.simulation.galaxies import ARRANGEMENTS, ELLIPTICAL, IRREGULAR, MANY_ARMS, Galaxy

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Plane:
    """Pixel centres in the disk's own plane.

    Attributes
    ----------
    x, y
        (H, W) in scale lengths, x along the bar.
    r, theta
        The same in polar form.
    """

    x: Image
    y: Image
    r: Image
    theta: Image

    @classmethod
    def of(cls, galaxy: Galaxy, east: Image, north: Image) -> Plane:
        """Deproject sky offsets in arcsec, both (H, W)."""
        angle = np.radians(galaxy.position_angle)
        major = east * np.sin(angle) + north * np.cos(angle)
        minor = east * np.cos(angle) - north * np.sin(angle)
        spin = 2 * np.pi * chance.uniforms(galaxy.seed, "spin").item()
        u, v = major / galaxy.scale_length, minor / galaxy.scale_length / max(galaxy.disk_axis_ratio, 0.12)
        x = (u * np.cos(spin) + v * np.sin(spin)).astype(np.float32)
        y = (v * np.cos(spin) - u * np.sin(spin)).astype(np.float32)
        return cls(x, y, np.hypot(x, y), np.arctan2(y, x))


def arms(galaxy: Galaxy, plane: Plane) -> Image:
    """Logarithmic spiral arms; where they are flocculent, torn into pieces."""
    rng = chance.generator(galaxy.seed, "arms")
    count = int(rng.integers(5, 8)) if galaxy.arms == MANY_ARMS else galaxy.arms
    start = max(0.55, 0.95 * galaxy.bar_length if galaxy.bar > 0.15 else 0.0)
    log_r = np.log(np.maximum(plane.r, 0.05) / start)
    winding = galaxy.handedness * log_r / np.tan(np.radians(galaxy.pitch))
    # A slow wobble keeps arms from looking drawn with a compass.
    wobble = sum(
        amplitude * np.cos(k * plane.theta + 2.0 * k * log_r + phase)
        for k, amplitude, phase in zip((1, 2), rng.uniform(0.05, 0.25, 2), rng.uniform(0, 6.28, 2), strict=True)
    )
    phase = count * (plane.theta - winding + wobble)
    sharpness = 3.0 if count <= 2 else 1.8
    ridge = np.exp(sharpness * (np.cos(phase) - 1))
    if galaxy.flocculence > 0.3:
        torn = np.ones_like(ridge)
        for m in (3, 5, 7):
            torn += 1.1 * np.cos(m * (plane.theta - 1.3 * winding) + rng.uniform(0, 6.28) + 1.5 * m * log_r)
        ridge = (1 - galaxy.flocculence) * ridge + galaxy.flocculence * 0.5 * np.maximum(torn, 0) / 1.6
    inner = _step((plane.r - start) / 0.12)
    outer = _step((rng.uniform(3.2, 4.2) - plane.r) / 0.35)
    return (ridge * inner * outer * np.exp(-plane.r / 1.35) * _knots(rng, plane)).astype(np.float32)


def bar(galaxy: Galaxy, plane: Plane) -> Image:
    """A flat-topped bar along the plane's x axis."""
    width = (0.2 + 0.08 * (1 - galaxy.bar)) * galaxy.bar_length
    bent = (np.abs(plane.x) / galaxy.bar_length) ** 3 + (np.abs(plane.y) / width) ** 2
    return np.exp(-np.minimum(1.4 * bent, 60)).astype(np.float32)


def ring(galaxy: Galaxy, plane: Plane) -> Image:
    """A ring of young stars."""
    rng = chance.generator(galaxy.seed, "ring")
    radius = rng.uniform(1.6, 2.4)
    return np.exp(-np.minimum(((plane.r - radius) / 0.22) ** 2 / 2, 60)).astype(np.float32)


def clump_places(galaxy: Galaxy) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(clumps, 2) places in the plane, scale lengths, and (clumps,) shares of light, the first the brightest."""
    rng = chance.generator(galaxy.seed, "clumps")
    n = galaxy.clumps
    along = np.linspace(-1.8, 1.8, n) if n > 1 else np.array([0.6])
    name = ARRANGEMENTS[galaxy.clump_arrangement]
    if name == "straight-line":
        places = np.stack([along, 0.1 * rng.standard_normal(n)], axis=1)
    elif name == "chain":
        places = np.stack([along, 0.5 * np.sin(1.3 * along + rng.uniform(0, 6)) + 0.1 * rng.standard_normal(n)], axis=1)
    elif name == "spiral":
        angle = np.linspace(0, 2.6 * np.pi, n)
        radius = 0.5 + 1.6 * np.linspace(0, 1, n)
        places = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    else:
        places = rng.normal(0, 0.95, (n, 2))
    light = rng.uniform(0.7, 1.3, n)
    brightest = int(rng.integers(n)) if galaxy.brightest_clump < 0.6 else int(np.argmin(np.hypot(*places.T)))
    light[brightest] *= 1 + 4 * galaxy.brightest_clump
    return places, light / light.sum()


def clumps(galaxy: Galaxy, plane: Plane) -> Image:
    """Star-forming clumps, round in the plane."""
    places, light = clump_places(galaxy)
    image = np.zeros_like(plane.x)
    for (x, y), share in zip(places, light, strict=True):
        image += share * np.exp(-np.minimum(((plane.x - x) ** 2 + (plane.y - y) ** 2) / (2 * 0.24**2), 60))
    return image


def irregular_light(galaxy: Galaxy, plane: Plane) -> Image:
    """Patches without order, off the centre."""
    rng = chance.generator(galaxy.seed, "irregular")
    image = np.zeros_like(plane.x)
    for _ in range(6):
        x, y = rng.normal(0, 0.9, 2)
        size = rng.uniform(0.3, 0.8)
        image += rng.uniform(0.3, 1) * np.exp(
            -np.minimum(((plane.x - x) ** 2 + (plane.y - y) ** 2) / (2 * size**2), 60)
        )
    return image * _knots(rng, plane)


def tides(galaxy: Galaxy, plane: Plane) -> Image:
    """A long tail, its weaker counterpart, and a plume to one side."""
    rng = chance.generator(galaxy.seed, "tides")
    if galaxy.kind == ELLIPTICAL:
        return _shells(rng, plane)
    start = np.radians(galaxy.companion_angle)
    image = np.zeros_like(plane.x)
    for weight, turn in ((1.0, 0.0), (rng.uniform(0.1, 0.7), np.pi)):
        opening = np.tan(np.radians(rng.uniform(28, 50)))
        reach = rng.uniform(3.8, 6.0)
        phase = plane.theta - galaxy.handedness * np.log(np.maximum(plane.r, 0.1)) / opening - start - turn
        across = np.angle(np.exp(1j * phase)) * np.maximum(plane.r, 0.3) * opening / np.hypot(1, opening)
        along = _step((plane.r - 1.2) / 0.25) * _step((reach - plane.r) / 0.4)
        image += weight * np.exp(-np.minimum((across / 0.38) ** 2 / 2, 60)) * along * np.exp(-plane.r / 3.5)
    side = rng.uniform(0, 2 * np.pi)
    x, y = plane.x - 2.2 * np.cos(side), plane.y - 2.2 * np.sin(side)
    image += 0.35 * np.exp(-np.minimum((x**2 + y**2) / (2 * 0.9**2), 60))
    return image.astype(np.float32)


def lens(galaxy: Galaxy, plane: Plane) -> Image:
    """A bright arc around the middle and its faint counter-image: a distant galaxy seen through a heavy one."""
    rng = chance.generator(galaxy.seed, "lens")
    towards, radius = rng.uniform(0, 2 * np.pi), rng.uniform(2.2, 2.8)
    angle = np.angle(np.exp(1j * (plane.theta - towards)))
    ring_of_light = np.exp(-np.minimum(((plane.r - radius) / 0.14) ** 2 / 2, 60))
    arc = np.exp(-np.minimum((angle / 0.6) ** 4, 60))
    counter = 0.3 * np.exp(-np.minimum(((np.pi - np.abs(angle)) / 0.2) ** 2, 60))
    return np.asarray(ring_of_light * (arc + counter), np.float32)


def _shells(rng: np.random.Generator, plane: Plane) -> Image:
    """Arcs on both sides and a plume: what a small galaxy leaves when it falls into an elliptical."""
    axis = rng.uniform(0, 2 * np.pi)
    image = np.zeros_like(plane.x)
    for i in range(int(rng.integers(2, 5))):
        radius = rng.uniform(1.6, 2.4) + 1.1 * i
        towards = np.cos(plane.theta - axis - np.pi * (i % 2))
        edge = _step((radius - plane.r) / 0.08) * np.exp(-np.maximum(radius - plane.r, 0) / 0.55)
        image += edge * np.maximum(towards, 0) ** 3 / radius
    side = rng.uniform(0, 2 * np.pi)
    along = plane.x * np.cos(side) + plane.y * np.sin(side)
    across = plane.y * np.cos(side) - plane.x * np.sin(side)
    image += 0.14 * np.exp(-np.minimum(((along - 2.5) / 2.0) ** 2 + (across / 0.8) ** 2, 60))
    return np.asarray(image, np.float32)


def _knots(rng: np.random.Generator, plane: Plane) -> Image:
    """Brightness that varies from place to place like star-forming regions; mean about 1."""
    cells = rng.gamma(1.6, 1 / 1.6, (48, 48)).astype(np.float32)
    u = np.clip((plane.x + 6) * 4, 0, 46.99)
    v = np.clip((plane.y + 6) * 4, 0, 46.99)
    i, j = np.floor(u), np.floor(v)
    a, b = u - i, v - j
    at = (48 * i + j).astype(np.intp)
    near, below = cells.ravel(), cells.ravel()[48:]
    smooth = (1 - a) * ((1 - b) * near.take(at) + b * near.take(at + 1))
    smooth += a * ((1 - b) * below.take(at) + b * below.take(at + 1))
    return 0.35 + 0.65 * smooth


def _step(x: Image) -> Image:
    """From 0 to 1 through 1/2 at 0."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x), np.float32)


def is_patchy(galaxy: Galaxy) -> bool:
    """Whether a galaxy has anything of this module."""
    return bool(
        galaxy.arms
        or galaxy.bar > 0
        or galaxy.ring > 0
        or galaxy.clumps
        or galaxy.kind == IRREGULAR
        or galaxy.disturbance > 0.1
        or galaxy.lens > 0
    )
