"""A PostgreSQL that restarts in the middle of a stage: it is waited for, and the result is that of a quiet day."""

from __future__ import annotations

import random
import shutil
import threading
import time

import pytest

from gzflow.settings import Settings
from tests.chaos.conftest import TROUBLE
from tests.own_postgres import own_postgres

pytestmark = pytest.mark.slow
STRIKES = 7
"""Restarts that must have fallen into work."""


def test_the_database_restarts(stages, nursery, services, tmp_path, record_property):
    pytest.importorskip("psycopg")
    struck = restarts = 0
    with own_postgres() as postgres:
        for trial in range(3 * STRIKES):  # each an ingest and a shard
            if struck >= STRIKES:
                break
            chance = random.Random(f"restart {trial}")
            home = tmp_path / f"home-{trial}"
            postgres.query(f"CREATE DATABASE trial_{trial}")
            url = f"postgresql+psycopg://{postgres.place.rpartition('/')[0]}/trial_{trial}"
            settings = Settings.load({"GZFLOW_CATALOG_URL": url}, home=home)
            home.mkdir()
            for name in ("ingest", "shard"):
                stage = stages(name)
                services.faults = TROUBLE
                restarted: list[float] = []

                def restart(wait: float, mode: str, restarted: list[float] = restarted) -> None:
                    time.sleep(wait)
                    postgres.stop(mode)
                    restarted.append(time.monotonic())
                    postgres.start()

                moment = chance.uniform(0.05, 0.8) * stage.seconds
                restarter = threading.Thread(target=restart, args=(moment, chance.choice(["fast", "immediate"])))
                restarter.start()
                environment = {"GZFLOW_CATALOG_URL": url}
                ended = nursery.run(name, home, stage.words, environment=environment, may_fail=True)
                over = time.monotonic()
                restarter.join()
                struck, restarts = struck + (restarted[0] < over), restarts + 1
                if ended.result is None:  # a process that has never seen its database does not wait for it
                    assert "database is away" in ended.log, ended.log
                    nursery.run(name, home, stage.words, environment=environment)
                stage.compare(settings, f"after a restart, trial {trial}")
            shutil.rmtree(home)
    record_property("kills", f"database restarts: {struck} of {restarts} fell into work")
    assert struck >= STRIKES
