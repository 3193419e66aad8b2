"""A folder keeps its run's key: the store alone says whether it has the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gzflow.settings import Settings
from gzflow.stages.run_file import KEY, claim_run, note_run, noted_run
from gzflow.tracking.run import TrackedRun


def begin(folder: Path, settings: Settings) -> str:
    claimed = claim_run(folder, settings, "toy")
    with TrackedRun(settings, "toy", tags=claimed.tags, run_id=claimed.run_id) as run:
        note_run(folder, run, claimed.tags[KEY])
    return run.id


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
def test_one_run_in_a_store_whatever_its_address(tmp_path: Path) -> None:
    here = Settings.load({}, home=tmp_path / "home")
    link = tmp_path / "same"
    first = begin(tmp_path, here)
    link.symlink_to(here.home / "mlflow", target_is_directory=True)
    again = replace(here, tracking_uri=f"sqlite:///{link / 'mlflow.db'}")
    assert begin(tmp_path, again) == first
    assert noted_run(tmp_path, here, "toy") == first
    other = replace(here, tracking_uri=f"sqlite:///{tmp_path / 'other' / 'mlflow.db'}")
    assert noted_run(tmp_path, other, "toy") is None
    second = begin(tmp_path, other)
    assert second != first
    assert begin(tmp_path, here) == first
    assert begin(tmp_path, other) == second
