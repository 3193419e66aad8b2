"""kill -9 at any moment of any stage, run again: nothing lost, nothing doubled, the same bits."""

from __future__ import annotations

import pytest

STAGES = ("ingest", "shard", "train", "predict")
KILLS = {"ingest": 15, "shard": 15, "train": 15, "predict": 15}
"""Kills that must have interrupted a stage in its work."""
A_TRIAL = 3
"""Kills before a stage may run to its end."""


@pytest.mark.parametrize("name", STAGES)
def test_killed_twice_and_run_again(name, stages, kill_and_rerun):
    assert kill_and_rerun(stages(name), 0, 2) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_killed_many_times(name, stages, kill_and_rerun, record_property):
    killed = tried = 0
    for seed in range(1, 4 * KILLS[name] // A_TRIAL):
        killed += kill_and_rerun(stages(name), seed, A_TRIAL)
        tried += A_TRIAL
        if killed >= KILLS[name]:
            break
    record_property("kills", f"{killed} of {tried} interrupted {name}")
    assert killed >= KILLS[name], f"only {killed} of {tried} kills fell into the work"
