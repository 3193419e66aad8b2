from __future__ import annotations

import pytest

from gzflow.errors import TrackingError
from gzflow.settings import Settings
from gzflow.tracking.artifacts import read_artifact, run_tags
from gzflow.tracking.run import Lineage, TrackedRun


def test_a_runs_files_and_tags_are_read_back(settings: Settings) -> None:
    with TrackedRun(settings, "toy", lineage=Lineage(parent_model="models:/gzflow-gz2/3")) as run:
        run.log_bytes("scores.parquet", b"PAR1")
        run.log_bytes("figures/loss.png", b"\x89PNG")
    assert read_artifact(settings, run.id, "scores.parquet") == b"PAR1"
    assert read_artifact(settings, run.id, "figures/loss.png") == b"\x89PNG"
    assert read_artifact(settings, run.id, "figures/other.png") is None
    assert read_artifact(settings, run.id, "nowhere/else.png") is None
    assert run_tags(settings, run.id)["gzflow.parent_model"] == "models:/gzflow-gz2/3"


def test_a_run_that_is_not_there_is_said(settings: Settings) -> None:
    for look in (lambda: read_artifact(settings, "f" * 32, "scores.parquet"), lambda: run_tags(settings, "f" * 32)):
        with pytest.raises(TrackingError, match="f" * 32):
            look()
