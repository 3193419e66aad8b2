"""Cross-match within 2 arcsec: gzflow against astropy at rising sizes, and LSDB at the largest; time and peak memory.

Two simulated catalogs a size, half of the first in both with 0.3 arcsec of scatter, in random order. Each method runs
in a process of its own, which measures its time (imports and reading the input excluded) and its peak resident memory
(all included), and writes its pairs; the parent asserts that they are the same. astropy gets arrays and gives arrays;
gzflow's time includes its checks, the ids and the sorted frame; LSDB's reading and writing HATS catalogs on disk, which
are made in a process of their own.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from timing import machine

RADIUS = 2.0
SIZES = "243500x272725,1000000x1000000,5000000x5000000"
PAIRS = {"left_id": pl.String, "right_id": pl.String, "separation_arcsec": pl.Float64}


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


# --- in the child


def by_astropy(left: pl.DataFrame, right: pl.DataFrame, how: str) -> tuple[float, pl.DataFrame]:
    import astropy.units as u
    from astropy.coordinates import SkyCoord, search_around_sky

    places = [(frame["ra"].to_numpy(), frame["dec"].to_numpy()) for frame in (left, right)]
    start = time.perf_counter()
    here, there = (SkyCoord(ra * u.deg, dec * u.deg) for ra, dec in places)
    if how == "all":
        i, j, separation, _ = search_around_sky(here, there, RADIUS * u.arcsec)
        separation = separation.arcsec
    else:
        nearest, apart, _ = here.match_to_catalog_sky(there)
        i = np.flatnonzero(apart.arcsec <= RADIUS)
        j, separation = nearest[i], apart.arcsec[i]
    seconds = time.perf_counter() - start
    return seconds, pl.DataFrame([left["id_str"][i], right["id_str"][j], pl.Series(separation)], schema=PAIRS)


def by_gzflow(left: pl.DataFrame, right: pl.DataFrame, how: str) -> tuple[float, pl.DataFrame]:
    from gzflow.sky import crossmatch

    start = time.perf_counter()
    pairs = crossmatch(left, right, RADIUS, how)
    return time.perf_counter() - start, pairs


def by_lsdb(folder: Path, how: str) -> tuple[float, pl.DataFrame]:
    from gzflow.sky.hats import crossmatch_hats, read_pairs

    start = time.perf_counter()
    crossmatch_hats(folder / "left-hats", folder / "right-hats", folder / "pairs-hats", RADIUS, how)
    return time.perf_counter() - start, read_pairs(folder / "pairs-hats").collect()


def to_hats(left: pl.DataFrame, right: pl.DataFrame, folder: Path) -> tuple[float, pl.DataFrame]:
    from gzflow.sky.hats import write_hats

    start = time.perf_counter()
    for name, frame in (("left", left), ("right", right)):
        write_hats(frame, folder / f"{name}-hats", name=name)
    return time.perf_counter() - start, pl.DataFrame(schema=PAIRS)


def child(method: str, how: str, folder: Path) -> None:
    if method == "lsdb":
        seconds, pairs = by_lsdb(folder, how)
    else:
        left, right = (pl.read_parquet(folder / f"{name}.parquet") for name in ("left", "right"))
        if method == "hats":
            seconds, pairs = to_hats(left, right, folder)
        else:
            seconds, pairs = (by_astropy if method == "astropy" else by_gzflow)(left, right, how)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    pairs.sort(*PAIRS).write_parquet(folder / f"{method}-{how}.parquet")
    print(f"{seconds} {peak}")


# --- in the parent


def measure(method: str, how: str, folder: Path, repeats: int) -> tuple[float, float]:
    """Median seconds and largest peak memory in GiB."""
    command = [sys.executable, __file__, "--child", method, how, str(folder)]
    runs = []
    for _ in range(repeats):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        runs.append(tuple(map(float, done.stdout.split()[-2:])))
    return statistics.median(seconds for seconds, _ in runs), max(peak for _, peak in runs)


def assert_same(folder: Path, one: str, other: str, atol: float) -> int:
    a, b = (pl.read_parquet(folder / f"{name}.parquet") for name in (one, other))
    assert a["left_id"].equals(b["left_id"]), f"{one} and {other} differ"
    assert a["right_id"].equals(b["right_id"]), f"{one} and {other} differ"
    np.testing.assert_allclose(a["separation_arcsec"], b["separation_arcsec"], rtol=0, atol=atol)
    return len(a)


def one_size(n_left: int, n_right: int, folder: Path, repeats: int, *, with_lsdb: bool) -> None:
    for name, frame in zip(("left", "right"), catalogs(n_left, n_right), strict=True):
        frame.write_parquet(folder / f"{name}.parquet")
    print(f"\n{n_left:,} x {n_right:,} rows")
    rivals = {how: measure("astropy", how, folder, repeats) for how in ("nearest", "all")}
    ours = {how: measure("gzflow", how, folder, repeats) for how in ("nearest", "best", "all")}
    n = {how: assert_same(folder, f"astropy-{how}", f"gzflow-{how}", 1e-8) for how in rivals}
    names = {"nearest": "match_to_catalog_sky", "all": "search_around_sky"}
    for how, (seconds, peak) in rivals.items():
        print(f"  astropy {names[how]:<22} {seconds:8.2f} s  {peak:6.2f} GiB   {n[how]:,} pairs")
    for how, (seconds, peak) in ours.items():
        against = rivals["all" if how == "all" else "nearest"][0] / seconds
        same = "same pairs" if how in n else "mutual"
        print(f"  gzflow  {how:<22} {seconds:8.2f} s  {peak:6.2f} GiB   {against:4.1f} x, {same}")
    if with_lsdb:
        written, peak = measure("hats", "-", folder, 1)
        print(f"  HATS catalogs written          {written:8.2f} s  {peak:6.2f} GiB")
        seconds, peak = measure("lsdb", "nearest", folder, 1)
        assert_same(folder, "gzflow-nearest", "lsdb-nearest", 0.0)
        print(f"  LSDB    nearest, HATS to HATS  {seconds:8.2f} s  {peak:6.2f} GiB   same pairs, same bits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default=SIZES, help="LEFTxRIGHT,LEFTxRIGHT,...; LSDB runs at the last one")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where scratch files go; default: the system's folder")
    parser.add_argument("--child", nargs=3, metavar=("METHOD", "HOW", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        method, how, folder = options.child
        child(method, how, Path(folder))
        return
    print(machine())
    sizes = [tuple(map(int, size.split("x"))) for size in options.sizes.split(",")]
    for n_left, n_right in sizes:
        folder = Path(tempfile.mkdtemp(prefix="gzflow-crossmatch-", dir=options.folder))
        try:
            one_size(n_left, n_right, folder, options.repeats, with_lsdb=(n_left, n_right) == sizes[-1])
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
