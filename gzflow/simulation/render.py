"""Pictures of galaxies through a telescope."""

from __future__ import annotations

from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray

from gzflow.simulation import chance, structure
from gzflow.simulation.canvas import Canvas
from gzflow.simulation.exposure import add_flaw, flaw_of
from gzflow.simulation.galaxies import ELLIPTICAL, IRREGULAR, Galaxy
from gzflow.simulation.light import band_fluxes
from gzflow.simulation.surroundings import paint_surroundings
from gzflow.simulation.telescopes import Telescope

OLD, MIXED, YOUNG = range(3)


def render(
    galaxy: Galaxy,
    telescope: Telescope,
    pixels: int,
    pixscale: float,
    *,
    east: float = 0.0,
    north: float = 0.0,
    noise: bool = True,
) -> NDArray[np.float32]:
    """(bands, pixels, pixels) nanomaggies per native pixel; row 0 is north, column 0 is east.

    The units are those of resampled survey cutouts: brightness does not change with the scale asked for.

    Parameters
    ----------
    pixels, pixscale
        Side of the picture, and arcsec per pixel of it.
    east, north
        Arcsec from the middle of the picture to the galaxy.
    noise
        Add the sky's and the photons' noise, and the exposure's flaw if it has one.
    """
    canvas = Canvas(telescope, pixels, pixscale)
    weights = band_fluxes(telescope.microns, galaxy.redshift)
    flux = 10 ** (-0.4 * (galaxy.magnitude - 22.5))
    _paint_galaxy(canvas, galaxy, flux, east, north)
    if galaxy.companion > 0:
        _paint_companion(canvas, galaxy, flux * galaxy.companion, east, north)
    paint_surroundings(canvas, galaxy.seed)
    image = canvas.exposed(weights)
    if noise:
        _add_noise(image, telescope, pixscale, chance.generator(galaxy.seed, telescope.name, pixels, pixscale))
        add_flaw(image, telescope, pixscale, flaw_of(galaxy.seed, telescope), galaxy.seed)
    return image


def empty_sky(seed: int, telescope: Telescope, pixels: int, pixscale: float) -> NDArray[np.float32]:
    """(bands, pixels, pixels) of a place where no galaxy was put: faint sources and noise alone."""
    canvas = Canvas(telescope, pixels, pixscale)
    weights = band_fluxes(telescope.microns, 0.1)
    paint_surroundings(canvas, seed)
    image = canvas.exposed(weights)
    _add_noise(image, telescope, pixscale, chance.generator(seed, telescope.name, pixels, pixscale))
    return image


def _paint_galaxy(canvas: Canvas, galaxy: Galaxy, flux: float, east: float, north: float) -> None:
    if galaxy.kind == ELLIPTICAL:
        whole = galsim.Sersic(galaxy.sersic, half_light_radius=galaxy.radius * np.sqrt(galaxy.roundness))
        canvas.profile(OLD, _tilted(whole, galaxy.roundness, galaxy.position_angle), flux, east=east, north=north)
        if structure.is_patchy(galaxy):
            _paint_patches(canvas, galaxy, flux, east, north)
        return
    bulge = flux * galaxy.bulge
    if bulge > 0:
        _paint_bulge(canvas, galaxy, bulge, east, north)
    patches = _paint_patches(canvas, galaxy, flux - bulge, east, north) if structure.is_patchy(galaxy) else 0.0
    rest = flux - bulge - patches
    population = YOUNG if galaxy.kind == IRREGULAR else MIXED
    canvas.profile(population, _disk(galaxy, 0.6 * galaxy.thickness), rest, east=east, north=north)
    if galaxy.dust_lane > 0 and galaxy.inclination > 75:
        # Dust in the midplane takes light away: a thinner disk of negative flux.
        lane = _disk(galaxy, 0.15 * galaxy.thickness)
        canvas.profile(population, lane, -0.3 * galaxy.dust_lane * rest, east=east, north=north)


def _disk(galaxy: Galaxy, flattening: float) -> galsim.GSObject:
    disk = galsim.InclinedExponential(
        galaxy.inclination * galsim.degrees, scale_radius=galaxy.scale_length, scale_h_over_r=flattening
    )
    return disk.rotate((90 - galaxy.position_angle) * galsim.degrees)


def _paint_bulge(canvas: Canvas, galaxy: Galaxy, flux: float, east: float, north: float) -> None:
    radius = galaxy.scale_length * (0.28 + 0.7 * galaxy.bulge)
    ratio = 1 - 0.4 * np.sin(np.radians(galaxy.inclination))
    bulge = _tilted(galsim.Sersic(galaxy.sersic, half_light_radius=radius), ratio, galaxy.position_angle)
    if galaxy.bulge_boxiness < 0.3:
        canvas.profile(OLD, bulge, flux, east=east, north=north)
        return
    # A box is four blobs at its corners round a weaker middle.
    boxed = galaxy.bulge_boxiness * 0.75
    canvas.profile(OLD, bulge, flux * (1 - boxed), east=east, north=north)
    corner = galsim.Gaussian(half_light_radius=0.55 * radius)
    angle = np.radians(galaxy.position_angle)
    for along in (-1.1, 1.1):
        for across in (-0.65, 0.65):
            dx = radius * (along * np.sin(angle) + across * np.cos(angle))
            dy = radius * (along * np.cos(angle) - across * np.sin(angle))
            canvas.profile(OLD, corner, flux * boxed / 4, east=east + dx, north=north + dy)


def _paint_patches(canvas: Canvas, galaxy: Galaxy, flux: float, east: float, north: float) -> float:
    """Paint all that is not smooth; the light it took from `flux`."""
    plane = structure.Plane.of(galaxy, canvas.east - np.float32(east), canvas.north - np.float32(north))
    shares: list[tuple[int, Any, float]] = []
    if galaxy.arms:
        shares.append((YOUNG, structure.arms(galaxy, plane), 0.5 * galaxy.arm_strength))
    if galaxy.bar > 0:
        shares.append((OLD, structure.bar(galaxy, plane), 0.26 * galaxy.bar))
    if galaxy.ring > 0:
        shares.append((YOUNG, structure.ring(galaxy, plane), 0.3 * galaxy.ring))
    if galaxy.clumps:
        shares.append((YOUNG, structure.clumps(galaxy, plane), 0.6 * galaxy.clump_strength))
    if galaxy.kind == IRREGULAR:
        shares.append((YOUNG, structure.irregular_light(galaxy, plane), 0.6 * galaxy.irregularity))
    if galaxy.disturbance > 0.1:
        old = galaxy.kind == ELLIPTICAL
        shares.append((OLD if old else MIXED, structure.tides(galaxy, plane), 0.3 * galaxy.disturbance))
    if galaxy.lens > 0:
        shares.append((YOUNG, structure.lens(galaxy, plane), 0.12 * galaxy.lens))
    total = sum(share for _, _, share in shares)
    shrink = min(1.0, 0.9 / total) if total > 0 else 0.0
    for population, image, share in shares:
        canvas.paint(population, image, flux * share * shrink)
    return flux * total * shrink


def _paint_companion(canvas: Canvas, galaxy: Galaxy, flux: float, east: float, north: float) -> None:
    rng = chance.generator(galaxy.seed, "companion")
    angle = np.radians(galaxy.companion_angle)
    distance = galaxy.companion_distance * galaxy.radius
    x, y = east + distance * np.sin(angle), north + distance * np.cos(angle)
    radius = galaxy.radius * np.sqrt(galaxy.companion) * rng.uniform(0.5, 0.9)
    ratio, tilt = rng.uniform(0.4, 1), rng.uniform(0, 180)
    core = galsim.Sersic(4.0, half_light_radius=0.5 * radius)
    canvas.profile(OLD, _tilted(core, ratio, tilt), 0.5 * flux, east=x, north=y)
    outer = galsim.Exponential(half_light_radius=radius)
    canvas.profile(MIXED, _tilted(outer, ratio, tilt), 0.5 * flux, east=x, north=y)


def _tilted(profile: galsim.GSObject, axis_ratio: float, position_angle: float) -> galsim.GSObject:
    """The profile with that axis ratio, its long axis at the position angle (north through east)."""
    return profile.shear(q=float(axis_ratio), beta=(90 - position_angle) * galsim.degrees)


def _add_noise(image: NDArray[np.float32], telescope: Telescope, pixscale: float, rng: np.random.Generator) -> None:
    """Sky and photon noise, white on native pixels and smeared out on finer ones.

    On coarser pixels it falls with the square root of the scale, not with the scale: resampled coadds are correlated,
    and unresolved sources do not average away.
    """
    ratio = pixscale / telescope.native_pixscale
    n = image.shape[-1]
    sky = telescope.noise[:, None, None].astype(np.float32)
    if ratio >= 1:
        grains = rng.standard_normal(image.shape, np.float32) / np.float32(np.sqrt(ratio))
    else:
        m = int(np.ceil(n * ratio)) + 1
        coarse = rng.standard_normal((len(image), m, m), np.float32)
        grains = _stretched(_stretched(coarse, n, ratio).swapaxes(1, 2), n, ratio).swapaxes(1, 2)
    image += grains * np.sqrt(sky**2 + np.maximum(image, 0) / np.float32(telescope.gain))


def _stretched(image: NDArray[np.float32], n: int, step: float) -> NDArray[np.float32]:
    """Linear interpolation of the last axis to `n` places `step` apart."""
    at = np.arange(n) * step
    i = np.minimum(at.astype(int), image.shape[-1] - 2)
    part = (at - i).astype(np.float32)
    return image[..., i] * (1 - part) + image[..., i + 1] * part
