"""Processes, each with a home of its own as on a machine of its own, that all promote at the same moment.

python rivals.py TRACKING_URI FOLDER SURVEY ROUNDS VERSION...: one process a version. Each round, all read who is
champion, and then each promotes its version over that one. Prints the decisions as JSON, one list a round.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from dataclasses import asdict
from pathlib import Path

from gzflow.settings import Settings
from gzflow.tracking.client import connect
from gzflow.tracking.succession import Succession


def rival(uri: str, folder: Path, survey: str, version: str, rounds: int, barrier, results) -> None:
    settings = Settings.load({"MLFLOW_TRACKING_URI": uri}, home=folder / f"machine-{version}")
    succession = Succession(connect(settings), settings, survey)
    for number in range(rounds):
        barrier.wait(120)
        champion = succession.champion()
        barrier.wait(120)
        if champion != version:
            decision = succession.promote(version, expected_champion=champion, approved=True, reasons=["better"])
            results.put((number, asdict(decision)))


if __name__ == "__main__":
    uri, folder, survey, rounds, *versions = sys.argv[1:]
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(len(versions)), context.Queue()
    processes = [
        context.Process(target=rival, args=(uri, Path(folder), survey, version, int(rounds), barrier, results))
        for version in versions
    ]
    for process in processes:
        process.start()
    made: list[list[object]] = [[] for _ in range(int(rounds))]
    for _ in range(int(rounds) * (len(versions) - 1)):
        number, decision = results.get(timeout=120)
        made[number].append(decision)
    for process in processes:
        process.join(60)
    sys.stdout.write(json.dumps(made) + "\n")
