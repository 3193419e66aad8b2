"""A large catalog into the store: rows a second and peak memory, against pandas' read_csv and to_sql.

A catalog of n rows (19-digit ids, positions, three answers) is read from CSV, gzipped CSV, Parquet of one row group or
FITS, and written to SQLite or PostgreSQL. Every job is a process of its own, and its memory is what the kernel says of
it at its end. gzflow checks positions, votes, totals and doubled ids, keeps a primary key, and can be interrupted;
pandas writes one table without any of that, in chunks of rows (its default would hold the whole file). Both must end
with the same ids and the same votes. Then gzflow plans the images of all these galaxies.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from sqlalchemy import create_engine, text
from timing import machine

SURVEY = """
[survey]
name = "large"
[catalog]
id = "objid"
ra = "ra"
dec = "dec"
[catalog.votes]
count = "{question}_{answer}"
total = "{question}_total"
[cutout]
service = "sdss"
pixscale = 0.396
[[question]]
name = "shape"
answers = ["smooth", "featured", "artifact"]
"""
JOB = """
import sys, time
start = time.perf_counter()
{body}
seconds = time.perf_counter() - start
# Not ru_maxrss: that begins with the memory of the process that started this one.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(n, seconds, int(peak.split()[1]) / 2**10)
"""
GZFLOW = """
from gzflow.settings import Settings
from gzflow.stages import ingest
folder, url, catalog = sys.argv[1:]
settings = Settings.load({"GZFLOW_CATALOG_URL": url}, home=folder + "/home")
n = ingest.read(ingest.IngestSource(survey=folder + "/large.toml", catalog=catalog), settings).done
"""
PLAN = """
from gzflow.settings import Settings
from gzflow.stages import ingest
folder, url, catalog = sys.argv[1:]
settings = Settings.load({"GZFLOW_CATALOG_URL": url}, home=folder + "/home")
plan = ingest.plan(ingest.IngestSource(survey=folder + "/large.toml"), settings)
n = sum(len(chunk.ids) for chunk in plan.chunks)
"""
PANDAS = """
import pandas as pd
from sqlalchemy import create_engine
folder, url, catalog = sys.argv[1:]
engine, n = create_engine(url), 0
for part in pd.read_csv(catalog, dtype={"objid": str}, chunksize=100_000):
    part.to_sql("rival", engine, if_exists="append", index=False)
    n += len(part)
"""


def written(folder: Path, form: str, n: int, order: str) -> Path:
    rng = np.random.default_rng(42)
    ids = 1_237_645_879_551_000_000 + np.cumsum(rng.integers(1, 1_000_000, n))
    if order == "random":
        rng.shuffle(ids)
    votes = rng.integers(0, 40, (n, 3), dtype=np.int32)
    frame = pl.DataFrame(
        {
            "objid": ids,
            "ra": rng.uniform(0, 360, n).round(6),
            "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, n))).round(6),
            "shape_smooth": votes[:, 0],
            "shape_featured": votes[:, 1],
            "shape_artifact": votes[:, 2],
            "shape_total": votes.sum(axis=1, dtype=np.int32),
        }
    )
    path = folder / f"large{form}"
    if form == ".parquet":
        frame.write_parquet(path, row_group_size=n)
    elif form == ".fits":
        from astropy.table import Table

        Table({name: frame[name].to_numpy() for name in frame.columns}).write(path)
    else:
        frame.write_csv(folder / "large.csv")
        if form == ".csv.gz":
            subprocess.run(["gzip", "-1kf", str(folder / "large.csv")], check=True)
    return path


def child(body: str, *arguments: str) -> tuple[int, float, float]:
    """(rows, seconds, peak MiB) of a job in a process of its own; the time is without that of starting Python."""
    call = [sys.executable, "-c", JOB.format(body=body), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    n, seconds, mib = done.stdout.split()[-3:]
    return int(n), float(seconds), float(mib)


def sums(url: str, galaxies: str, votes: str) -> tuple[object, ...]:
    """What both stores must agree on: rows, first and last id, votes."""
    engine = create_engine(url)
    with engine.connect() as connection:
        ids = connection.execute(text(f"SELECT count(*), min({galaxies}), max({galaxies}) FROM {votes}")).one()
        answers = ", ".join(f"sum(shape_{answer})" for answer in ("smooth", "featured", "artifact"))
        counts = connection.execute(text(f"SELECT {answers} FROM {votes}")).one()
    engine.dispose()
    return (*ids, *(int(count) for count in counts))


def forget(url: str) -> None:
    """Tables of an earlier run of this script in a database that stays."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS rival"))
        for name in (
            "galaxies", "cutouts", "failures", "catalog_files", "crossmatches", "matches", "surveys", "gzflow_store",
            "votes_large",
        ):  # fmt: skip
            connection.execute(text(f"DROP TABLE IF EXISTS {name}"))
    engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--forms", nargs="+", default=[".csv"], choices=[".csv", ".csv.gz", ".parquet", ".fits"])
    parser.add_argument("--order", choices=["file", "random"], default="file", help="order of the ids in the file")
    parser.add_argument(
        "--postgres", default=os.environ.get("GZFLOW_BENCH_POSTGRES_URL"), help="URL of an empty database of its own"
    )
    parser.add_argument("--no-rival", action="store_true", help="gzflow alone")
    parser.add_argument("--folder", type=Path, help="where files lie meanwhile; default: the system's temporary folder")
    options = parser.parse_args()
    print(machine())
    print(f"{options.rows:,} rows, ids in {options.order} order")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        (folder / "large.toml").write_text(SURVEY)
        for form in options.forms:
            path = written(folder, form, options.rows, options.order)
            print(f"large{form}: {path.stat().st_size / 2**20:,.0f} MiB")
            for kind in ("sqlite", "postgresql") if options.postgres else ("sqlite",):
                url = f"sqlite:///{folder}/{form[1:]}.db" if kind == "sqlite" else options.postgres
                rival_url = f"sqlite:///{folder}/rival.db" if kind == "sqlite" else options.postgres
                if kind == "postgresql":
                    forget(url)
                ours = child(GZFLOW, str(folder), url, str(path))
                report(f"gzflow {form} -> {kind}", options.rows, ours)
                report(f"gzflow plan from {kind}", options.rows, child(PLAN, str(folder), url, str(path)))
                if form == ".csv" and not options.no_rival:
                    theirs = child(PANDAS, str(folder), rival_url, str(path))
                    report(f"pandas {form} -> {kind}", options.rows, theirs)
                    assert sums(url, "id_str", "votes_large") == sums(rival_url, "objid", "rival")
                    print(f"same ids and votes; gzflow is {theirs[1] / ours[1]:.1f} x as fast")
                if kind == "postgresql":
                    forget(url)
                for file in folder.glob("*.db*"):
                    file.unlink()


def report(what: str, expected: int, job: tuple[int, float, float]) -> None:
    n, seconds, mib = job
    assert n == expected, f"{what}: {n:,} of {expected:,} rows"
    print(f"{what:34} {seconds:7.1f} s  {n / seconds:10,.0f} rows/s  peak {mib:7,.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
