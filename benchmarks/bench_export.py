"""Galaxies a second and peak memory of an export: parts streamed to FITS and VOTable against astropy's Table.write.

    python benchmarks/bench_export.py --parts 20

Each writer runs in a process of its own, whose peak memory is measured. Both files must hold the same numbers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from timing import machine

GALAXIES = 10_000
"""In a part."""


def make_run(folder: Path, n_parts: int) -> None:
    from gzflow import load_survey
    from gzflow.durable import write_json
    from gzflow.prediction.export import part_table, write_part
    from gzflow.prediction.predict import PredictionPart

    tree = load_survey("decals").tree
    alpha = np.random.default_rng(42).uniform(1, 101, (GALAXIES, 1, len(tree.answers))).astype(np.float32)
    part = PredictionPart([f"g{i}" for i in range(GALAXIES)], np.zeros(GALAXIES), np.zeros(GALAXIES), alpha)
    write_part(folder / "part-test-00000.parquet", part_table(part, tree, {"survey": "decals"}))
    for i in range(1, n_parts):
        os.link(folder / "part-test-00000.parquet", folder / f"part-test-{i:05d}.parquet")
    names = sorted(path.name for path in folder.glob("part-*"))
    write_json(folder / "manifest.json", {"entries": [{"file": n, "n": GALAXIES, "split": "test"} for n in names]})


def write(writer: str, folder: Path, file: Path) -> None:
    if writer == "gzflow":
        from gzflow.settings import Settings
        from gzflow.stages.export import ExportOptions, export

        export(ExportOptions("decals", file, run=str(folder), log=False), Settings.load({}, home=folder / "home"))
    else:
        import pyarrow.parquet as pq
        from astropy.table import Table

        table = pq.read_table(sorted(folder.glob("part-*.parquet")))
        how = {"format": "fits"} if file.suffix == ".fits" else {"format": "votable", "tabledata_format": "binary2"}
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
        Table(columns | {"id_str": np.array(columns["id_str"], str)}).write(file, **how)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", type=int, default=20, help=f"of {GALAXIES:,} galaxies")
    parser.add_argument("--child", nargs=3, metavar=("WRITER", "FOLDER", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        writer, folder, file = options.child
        start = time.perf_counter()
        write(writer, Path(folder), Path(file))
        # Not getrusage: what it calls the peak of a new program includes its parent's.
        peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
        print(time.perf_counter() - start, int(peak) / 1024)
        return
    from astropy.table import Table

    print(machine())
    n = options.parts * GALAXIES
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_run(folder, options.parts)
        for suffix in ("fits", "vot"):
            for writer in ("gzflow", "astropy"):
                command = [sys.executable, __file__, "--child", writer, temporary, f"{folder}/{writer}.{suffix}"]
                said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
                seconds, megabytes = map(float, said[-2:])
                print(f"{suffix:5} {writer:8} {n / seconds:10,.0f} galaxies/s   peak {megabytes:8,.0f} MB")
        ours, theirs = (Table.read(folder / f"{writer}.fits") for writer in ("gzflow", "astropy"))
        for name in ("id_str", "bar_no_fraction", "smooth-or-featured_smooth_upper"):
            np.testing.assert_array_equal(np.char.strip(np.asarray(ours[name], str)), np.asarray(theirs[name], str))


if __name__ == "__main__":
    main()
