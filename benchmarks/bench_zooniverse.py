"""Counting a Zooniverse classifications export: rows a second and peak memory, against pandas.

The export has the columns and the weight of real ones (session metadata, markdown pictures in the answers, metadata of
the subject), 40 classifications a galaxy. The rival is what scripts do: ``pandas.read_csv``, ``json.loads`` on each
row, ``drop_duplicates``, ``groupby``. Each runs in a process of its own; both must count the same votes.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import random
import resource
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
from timing import machine

from gzflow.stages.votes import count_votes

ANSWERS = {
    "shape": ("smooth", "featured-or-disk", "artifact"),
    "ring": ("yes", "no"),
    "arms": ("1", "2", "more-than-2"),
}
PICTURE = "![icon.png](https://panoptes-uploads.zooniverse.org/project_attached_image/f353f2f1-a47e-439d.png =60x) "
SURVEY = """
[survey]
name = "bench"
[catalog]
id = "name"
[catalog.votes]
count = "{question}_{answer}"
""" + "".join(f"[[question]]\nname = {name!r}\nanswers = {list(answers)}\n" for name, answers in ANSWERS.items())
COLUMNS = (
    "classification_id", "user_name", "user_id", "user_ip", "workflow_id", "workflow_name", "workflow_version",
    "created_at", "gold_standard", "expert", "metadata", "annotations", "subject_data", "subject_ids",
)  # fmt: skip


def export(path: Path, n: int) -> None:
    rng = random.Random(42)
    session = json.dumps({"session": "e69d40c9" * 8, "user_agent": "Mozilla/5.0 " * 20, "viewport": {"width": 1081}})
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for k in range(n):
            galaxy, user = k // 40, k % 39
            annotations = [
                {"task": f"T{t}", "task_label": name, "value": PICTURE + rng.choice(answers)}
                for t, (name, answers) in enumerate(ANSWERS.items())
            ]
            about = {
                "retired": None,
                "#gzflow_id": f"J{galaxy}",
                **{f"mag.{band}": 13.674222230911255 for band in "ugriz"},
            }
            writer.writerow([
                k, f"volunteer {user}", user, "2c61707e96c97a759840", 6122, "bench", "28.30", "2018-02-20 10:44:42 UTC",
                "", "", session, json.dumps(annotations), json.dumps({str(galaxy): about}), galaxy,
            ])  # fmt: skip


def with_gzflow(folder: Path) -> dict[str, int]:
    count_votes(folder / "export.csv", str(folder / "bench.toml"), folder / "votes.parquet")
    table = pd.read_parquet(folder / "votes.parquet")
    return {name: int(table[name].sum()) for name in table.columns if "_" in name} | {"galaxies": len(table)}


def with_pandas(folder: Path) -> dict[str, int]:
    frame = pd.read_csv(folder / "export.csv")
    frame = frame.drop_duplicates(["workflow_id", "subject_ids", "user_id"])
    votes = []
    for number, cell, data in zip(frame["subject_ids"], frame["annotations"], frame["subject_data"], strict=True):
        galaxy = json.loads(data)[str(number)]["#gzflow_id"]
        for entry in json.loads(cell):
            votes.append((galaxy, f"{entry['task_label']}_{entry['value'].split(') ')[-1]}"))
    table = pd.DataFrame(votes, columns=["galaxy", "answer"]).groupby(["galaxy", "answer"]).size().unstack(fill_value=0)
    return {name: int(table[name].sum()) for name in table.columns} | {"galaxies": len(table)}


def child(pipe: Connection, way: str, folder: Path) -> None:
    start = time.perf_counter()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {"gzflow": with_gzflow, "pandas": with_pandas}[way](folder)
    seconds = time.perf_counter() - start
    pipe.send((seconds, base / 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, result))


def measured(way: str, folder: Path) -> tuple[float, float, float, dict[str, int]]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=child, args=(there, way, folder))
    process.start()
    result = here.recv()
    process.join()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[200_000, 1_000_000])
    options = parser.parse_args()
    print(machine())
    peaks: dict[str, list[float]] = {}
    for n in options.rows:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "bench.toml").write_text(SURVEY)
            export(folder / "export.csv", n)
            print(f"{n:,} classifications, {(folder / 'export.csv').stat().st_size / 1e6:,.0f} MB")
            results = {way: measured(way, folder) for way in ("gzflow", "pandas")}
        assert results["gzflow"][3] == results["pandas"][3]
        for way, (seconds, base, peak, _) in results.items():
            peaks.setdefault(way, []).append(peak)
            print(f"  {way:<7} {n / seconds:>9,.0f} rows/s   {peak:>7,.0f} MB at most ({base:,.0f} MB before)")
    if len(options.rows) > 1:
        for way, peak in peaks.items():
            growth = np.polyfit(options.rows, peak, 1)[0] * 1e6
            print(f"{way}: {growth:,.0f} bytes more a classification")


if __name__ == "__main__":
    main()
