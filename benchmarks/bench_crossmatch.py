"""Nearest neighbours within 2 arcsec: gzflow against astropy's match_to_catalog_sky, with the same result asserted.

Two simulated catalogs of the size of GZ2 and of a larger survey, half of the first in both with 0.3 arcsec of scatter,
in random order. astropy gets arrays and gives arrays; gzflow's time includes reading the frames, its checks, the
distances and the sorted frame with ids. Both search their trees on one core.
"""

from __future__ import annotations

import argparse

import astropy.units as u
import numpy as np
import polars as pl
from astropy.coordinates import SkyCoord
from timing import machine, median_seconds

from gzflow.sky import crossmatch

RADIUS = 2.0


def catalogs(n_left: int, n_right: int, seed: int = 42) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(seed)
    both = n_left // 2
    ra, dec = rng.uniform(0, 360, n_left), np.degrees(np.arcsin(rng.uniform(-1, 1, n_left)))
    scatter = rng.normal(0, 0.3 / 3600, (2, both))
    again_dec = np.clip(dec[:both] + scatter[1], -90, 90)
    again_ra = (ra[:both] + scatter[0] / np.maximum(np.cos(np.radians(dec[:both])), 1e-6)) % 360
    new = n_right - both
    right_ra = np.concatenate([again_ra, rng.uniform(0, 360, new)])
    right_dec = np.concatenate([again_dec, np.degrees(np.arcsin(rng.uniform(-1, 1, new)))])
    order = rng.permutation(n_right)
    left = pl.DataFrame({"id_str": [f"a{i}" for i in range(n_left)], "ra": ra, "dec": dec})
    right = pl.DataFrame({"id_str": [f"b{i}" for i in order], "ra": right_ra[order], "dec": right_dec[order]})
    return left, right


def rival(left: pl.DataFrame, right: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    here, there = (SkyCoord(f["ra"].to_numpy() * u.deg, f["dec"].to_numpy() * u.deg) for f in (left, right))
    nearest, separation, _ = here.match_to_catalog_sky(there)
    inside = np.flatnonzero(separation.arcsec <= RADIUS)
    return inside, nearest[inside], separation.arcsec[inside]


def assert_same(left: pl.DataFrame, right: pl.DataFrame) -> int:
    i, j, separation = rival(left, right)
    expected = pl.DataFrame({"left_id": left["id_str"][i], "right_id": right["id_str"][j], "s": separation})
    expected = expected.sort("left_id", "right_id")
    found = crossmatch(left, right, RADIUS)
    assert found["left_id"].equals(expected["left_id"])
    assert found["right_id"].equals(expected["right_id"])
    np.testing.assert_allclose(found["separation_arcsec"], expected["s"], atol=1e-8)
    return len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--left", type=int, default=243_500)
    parser.add_argument("--right", type=int, default=272_725)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    left, right = catalogs(options.left, options.right)
    n = assert_same(left, right)
    print(machine())
    print(f"{options.left:,} x {options.right:,} rows, {n:,} pairs within {RADIUS} arcsec, same as astropy's")
    theirs = median_seconds(lambda: rival(left, right), options.repeats)
    print(f"astropy match_to_catalog_sky   {theirs:6.3f} s")
    for how in ("nearest", "best", "all"):
        ours = median_seconds(lambda how=how: crossmatch(left, right, RADIUS, how), options.repeats)
        print(f"gzflow {how:<23} {ours:6.3f} s   {theirs / ours:4.1f} x")


if __name__ == "__main__":
    main()
