"""kill -9 at any moment of any stage, run again: nothing lost, nothing doubled, the same bits."""

from __future__ import annotations

import pytest

FEW = {"ingest": 2, "shard": 2, "train": 1, "predict": 1}
MANY = {"ingest": 14, "shard": 14, "train": 12, "predict": 12, "finetune": 10}
"""Kills that must have interrupted a stage in its work: 62 in all."""
A_TRIAL = 3
"""Kills before a stage may run to its end."""


@pytest.mark.parametrize(("name", "kills"), FEW.items())
def test_killed_and_run_again(name, kills, stages, kill_and_rerun):
    # A kill may come before the work or after it: then another one.
    assert any(kill_and_rerun(stages(name), seed, kills) for seed in range(-8, 1))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kills"), MANY.items())
def test_killed_many_times(name, kills, stages, kill_and_rerun, record_property):
    killed = tried = 0
    while killed < kills and tried < 12 * kills:  # a moment may be after the end, more often when the machine idles
        killed += kill_and_rerun(stages(name), 1 + tried, A_TRIAL)
        tried += A_TRIAL
    record_property("kills", f"{name}: {killed} of {tried} kills interrupted it in its work")
    assert killed >= kills
