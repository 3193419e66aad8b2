"""Galaxies: what they are made of, before anyone looks at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gzflow.errors import SettingsError
from gzflow.simulation import chance
from gzflow.simulation.cosmology import distance_modulus, kpc_per_arcsec
from gzflow.simulation.footprints import ALL_SKY, Footprint

KINDS = ("elliptical", "lenticular", "spiral", "irregular")
ELLIPTICAL, LENTICULAR, SPIRAL, IRREGULAR = range(4)
MANY_ARMS = 6
ARRANGEMENTS = ("straight-line", "chain", "cluster-or-irregular", "spiral")


@dataclass(frozen=True, slots=True)
class Galaxy:
    """One galaxy's physical parameters.

    Lengths without a unit are in disk scale lengths; strengths run from 0 (absent) to 1 (as strong as it gets);
    angles are degrees.
    """

    seed: int
    ra: float
    dec: float
    redshift: float
    magnitude: float
    """Apparent AB magnitude of all the light emitted at 620 nm."""
    radius: float
    """Half-light radius along the major axis, arcsec."""
    kind: int
    """Index into `KINDS`."""
    position_angle: float
    inclination: float
    thickness: float
    """Axis ratio of the disk seen from the side."""
    roundness: float
    """Axis ratio of an elliptical as seen."""
    sersic: float
    """Sersic index of the bulge, or of the whole elliptical."""
    bulge: float
    """Bulge share of the light."""
    bulge_boxiness: float
    arms: int
    """Spiral arms; 0 has none, `MANY_ARMS` is more than four."""
    arm_strength: float
    pitch: float
    handedness: float
    flocculence: float
    bar: float
    bar_length: float
    ring: float
    dust_lane: float
    irregularity: float
    clumps: int
    clump_strength: float
    clump_arrangement: int
    """Index into `ARRANGEMENTS`."""
    brightest_clump: float
    """How much the first clump outshines the others."""
    companion: float
    """Light of a merging companion over the galaxy's; 0 has none."""
    companion_distance: float
    """In half-light radii."""
    companion_angle: float
    disturbance: float
    """Tidal arms and plumes."""
    lens: float

    @property
    def scale_length(self) -> float:
        """Disk scale length, arcsec: an exponential disk holds half its light in 1.678 of them."""
        return self.radius / 1.678

    @property
    def disk_axis_ratio(self) -> float:
        """Minor over major axis of the disk as seen."""
        cosine = np.cos(np.radians(self.inclination))
        return float(np.sqrt(cosine**2 + (self.thickness * np.sin(np.radians(self.inclination))) ** 2))


FIELDS = tuple(field.name for field in fields(Galaxy))
_INTEGERS = ("seed", "kind", "arms", "clumps", "clump_arrangement")


class Galaxies(Sequence[Galaxy]):
    """Many galaxies as columns: ``galaxies["bar"]`` is (n,), ``galaxies[3]`` is one `Galaxy`."""

    def __init__(self, columns: dict[str, NDArray[Any]]) -> None:
        self._columns = {name: columns[name] for name in FIELDS}

    def __len__(self) -> int:
        return len(self._columns["seed"])

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self._columns[key]
        if isinstance(key, (int, np.integer)):
            values = {name: column[key].item() for name, column in self._columns.items()}
            return Galaxy(**values)
        return Galaxies({name: column[key] for name, column in self._columns.items()})

    def __iter__(self) -> Iterator[Galaxy]:
        return (self[i] for i in range(len(self)))

    @property
    def axis_ratio(self) -> NDArray[np.float64]:
        """(n,) minor over major axis as seen, disks by their inclination."""
        inclination = np.radians(self["inclination"])
        disk = np.sqrt(np.cos(inclination) ** 2 + (self["thickness"] * np.sin(inclination)) ** 2)
        return np.where(self["kind"] == ELLIPTICAL, self["roundness"], disk)


def draw_galaxies(
    n: int,
    seed: int = 42,
    *,
    redshifts: tuple[float, float] = (0.02, 0.15),
    footprint: Footprint = ALL_SKY,
    featured: float = 0.55,
) -> Galaxies:
    """`n` galaxies of all kinds, the same for the same arguments.

    Parameters
    ----------
    redshifts
        Lowest and highest redshift.
    footprint
        Where on the sky they lie.
    featured
        Share of spirals and irregulars at low redshift; beyond, disks get clumpier and smaller.

    Raises
    ------
    SettingsError
        For fewer than one galaxy or redshifts that are not 0 < low < high.
    """
    if n < 1 or not 0 < redshifts[0] < redshifts[1]:
        raise SettingsError(
            f"cannot draw {n} galaxies with redshifts {redshifts}",
            expected="n >= 1 and 0 < lowest < highest redshift",
            fix="correct the arguments",
        )
    rng = chance.generator("galaxies", seed)
    z = redshifts[0] + (redshifts[1] - redshifts[0]) * rng.beta(2.0, 2.5, n)
    columns = {"redshift": z} | _bodies(rng, n, z, featured) | _features(rng, n) | _company(rng, n)
    _make_consistent(columns, rng, z)
    columns["ra"], columns["dec"] = footprint.draw(rng, n)
    columns["seed"] = rng.integers(0, 2**62, n)
    return Galaxies(
        {name: np.asarray(columns[name]).astype(np.int64 if name in _INTEGERS else np.float64) for name in FIELDS}
    )


def _bodies(rng: np.random.Generator, n: int, z: NDArray[Any], featured: float) -> dict[str, NDArray[Any]]:
    """Kind, brightness, size and orientation."""
    smooth = 1 - featured
    young = np.clip((z - 0.2) / 1.5, 0, 1)
    shares = np.stack(
        [
            smooth * (0.75 - 0.25 * young),
            smooth * (0.25 - 0.1 * young),
            featured * (0.9 - 0.4 * young),
            featured * 0.1 + young * (0.4 * featured + 0.35 * smooth),
        ],
        axis=1,
    )
    kind = (rng.random(n)[:, None] > np.cumsum(shares, axis=1)).sum(axis=1).clip(0, 3)
    elliptical = kind == ELLIPTICAL
    # Brighter than the surveys' limits; the deep surveys reach galaxies that were brighter and smaller in the past.
    absolute = -20.9 - 0.9 * z.clip(0, 2) + 0.65 * rng.standard_normal(n) - 0.4 * elliptical + 0.5 * (kind == IRREGULAR)
    slope = np.where(elliptical, 0.62, 0.36)
    kpc = np.where(elliptical, 4.6, 6.2) * 10 ** (-0.4 * slope * (absolute + 21) + 0.12 * rng.standard_normal(n))
    kpc *= (1 + z) ** np.where(elliptical, -1.2, -0.6)
    return {
        "kind": kind,
        "magnitude": absolute + distance_modulus(z),
        "radius": (kpc / kpc_per_arcsec(z)).clip(0.05, None),
        "position_angle": rng.uniform(0, 180, n),
        "inclination": np.degrees(np.arccos(rng.random(n))),
        "thickness": rng.uniform(0.08, 0.22, n),
        "roundness": 1 - 0.7 * rng.beta(1.3, 2.0, n),
        "sersic": np.where(elliptical, rng.choice([3.0, 4.0, 5.0], n), rng.choice([1.0, 2.0, 4.0], n)),
        "bulge": np.select(
            [elliptical, kind == LENTICULAR, kind == SPIRAL],
            [np.ones(n), rng.uniform(0.3, 0.7, n), 0.5 * rng.beta(1.2, 2.4, n)],
            0.05 * rng.random(n),
        ),
        "bulge_boxiness": np.where(rng.random(n) < 0.25, rng.uniform(0.5, 1, n), 0.15 * rng.random(n)),
    }


def _features(rng: np.random.Generator, n: int) -> dict[str, NDArray[Any]]:
    """Arms, bars and the rest, for every galaxy; `_make_consistent` takes them from those that have none."""
    flocculent = rng.random(n) < 0.22
    return {
        "arms": rng.choice([1, 2, 3, 4, MANY_ARMS], n, p=[0.08, 0.55, 0.16, 0.1, 0.11]),
        "arm_strength": rng.beta(2.2, 1.2, n),
        "pitch": rng.triangular(6, 16, 38, n),
        "handedness": rng.choice([-1.0, 1.0], n),
        "flocculence": np.where(flocculent, rng.uniform(0.6, 1, n), 0.25 * rng.random(n)),
        "bar": np.select(
            [(u := rng.random(n)) < 0.22, u < 0.5], [rng.uniform(0.6, 1, n), rng.uniform(0.2, 0.5, n)], 0.0
        ),
        "bar_length": rng.uniform(0.8, 1.5, n),
        "ring": np.where(rng.random(n) < 0.05, rng.uniform(0.5, 1, n), 0.0),
        "dust_lane": np.where(rng.random(n) < 0.35, rng.uniform(0.3, 1, n), 0.0),
        "irregularity": rng.uniform(0.4, 1, n),
        "clumps": rng.integers(1, 8, n),
        "clump_strength": rng.uniform(0.3, 1, n),
        "clump_arrangement": rng.choice(4, n, p=[0.15, 0.2, 0.45, 0.2]),
        "brightest_clump": rng.random(n) ** 2,
        "lens": np.where(rng.random(n) < 0.008, rng.uniform(0.5, 1, n), 0.0),
    }


def _company(rng: np.random.Generator, n: int) -> dict[str, NDArray[Any]]:
    """Mergers and what tides leave behind."""
    u = rng.random(n)
    merging, major, minor = u < 0.09, (u >= 0.09) & (u < 0.15), (u >= 0.15) & (u < 0.25)
    return {
        "companion": np.where(merging, rng.uniform(0.25, 0.9, n), 0.0),
        "companion_distance": rng.uniform(0.9, 2.6, n),
        "companion_angle": rng.uniform(0, 360, n),
        "disturbance": np.select(
            [merging, major, minor],
            [rng.uniform(0.3, 1, n), rng.uniform(0.65, 1, n), rng.uniform(0.2, 0.55, n)],
            0.05 * rng.random(n),
        ),
    }


def _make_consistent(columns: dict[str, NDArray[Any]], rng: np.random.Generator, z: NDArray[Any]) -> None:
    """Take from each kind what it cannot have."""
    kind = columns["kind"]
    n = len(kind)
    spiral, disk = kind == SPIRAL, (kind == SPIRAL) | (kind == LENTICULAR)
    columns["arms"] = np.where(spiral & (rng.random(n) < 0.9), columns["arms"], 0)
    columns["arm_strength"] = np.where(columns["arms"] > 0, 0.25 + 0.75 * columns["arm_strength"], 0.0)
    for name in ("bar", "ring", "dust_lane"):
        columns[name] = np.where(disk, columns[name], 0.0)
    columns["irregularity"] = np.where(kind == IRREGULAR, columns["irregularity"], 0.0)
    # Clumps belong to irregulars and, ever more often in the past, to disks.
    clumpy = (kind == IRREGULAR) | (spiral & (rng.random(n) < np.clip(0.02 + 0.35 * z, 0, 0.6)))
    columns["clumps"] = np.where(clumpy, columns["clumps"], 0)
    columns["clump_strength"] = np.where(clumpy, columns["clump_strength"], 0.0)
    columns["inclination"] = np.where(kind == ELLIPTICAL, 0.0, columns["inclination"])
