"""Several processes at one store: nothing lost, nothing doubled, and the first creation is no race."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gzflow import load_survey
from gzflow.catalog.failure import Failure
from gzflow.catalog.read import CatalogTable
from gzflow.catalog.store import CatalogStore, CutoutRecord

SPAWN = multiprocessing.get_context("spawn")
SURVEY = "decals"


def catalog(first: int, n: int) -> CatalogTable:
    survey = load_survey(SURVEY)
    ids = [f"J{first + i:06d}" for i in range(n)]
    galaxies = pl.DataFrame(
        {
            "id_str": ids,
            "ra": np.linspace(0, 359, n),
            "dec": np.zeros(n),
            "pixscale": np.full(n, 0.262),
            "image": ids,
            "carried": ["{}"] * n,
        }
    )
    votes = pl.DataFrame({"id_str": ids} | {answer: np.arange(n, dtype=np.int32) for answer in survey.tree.answers})
    return CatalogTable(galaxies, votes, n, 0, (), 0.0, ())


def write(url: str, worker: int, rounds: int) -> None:
    """One process: its own galaxies, everybody's ledger rows, its own failures; the store opened anew each round."""
    survey = load_survey(SURVEY)
    for i in range(rounds):
        with CatalogStore(url) as store:
            store.upsert_catalog(survey, catalog(1000 * worker + 50 * i, 50))
            store.record_cutouts(SURVEY, [CutoutRecord(f"J{j:06d}", "done", path=f"by-{worker}") for j in range(20)])
            store.record_failures(SURVEY, [Failure(f"w{worker}-{i}", "cutout", "blank")])


@pytest.mark.parametrize("workers", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_processes_at_once_lose_nothing(url: str, workers: int) -> None:
    rounds = 3
    processes = [SPAWN.Process(target=write, args=(url, worker, rounds)) for worker in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * workers
    survey = load_survey(SURVEY)
    with CatalogStore(url) as store:
        assert len(store.galaxies(SURVEY)) == len(store.votes(survey)) == workers * rounds * 50
        assert store.votes(survey)[survey.tree.answers[-1]].sum() == workers * rounds * sum(range(50))
        assert store.cutouts(SURVEY)["attempts"].to_list() == [workers * rounds] * 20
        assert len(store.failures(SURVEY)) == workers * rounds


def write_for_ever(url: str) -> None:
    survey = load_survey(SURVEY)
    with CatalogStore(url) as store:
        while True:
            store.upsert_catalog(survey, catalog(0, 2_000))


def test_kill_in_the_middle_leaves_whole_batches(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    survey = load_survey(SURVEY)
    CatalogStore(url).close()
    for delay in (0.02, 0.1):
        process = SPAWN.Process(target=write_for_ever, args=(url,))
        process.start()
        deadline = time.monotonic() + 60
        with CatalogStore(url) as store:
            while not store.survey_names() and time.monotonic() < deadline:
                time.sleep(0.01)
        time.sleep(delay)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(30)
        with CatalogStore(url) as store:
            assert store.galaxies(SURVEY)["id_str"].to_list() == store.votes(survey)["id_str"].to_list()
            store.upsert_catalog(survey, catalog(0, 2_000))
            assert len(store.galaxies(SURVEY)) == 2_000
