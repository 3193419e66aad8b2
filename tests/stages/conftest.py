from __future__ import annotations

from pathlib import Path

import pytest

from gzflow.settings import Settings
from gzflow.stages import ingest


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({}, home=tmp_path / "home")


@pytest.fixture
def run_ingest(settings: Settings):
    """Runs the whole stage as the flow does."""

    def run(source: ingest.IngestSource) -> ingest.IngestSummary:
        ingest.read(source, settings)
        for chunk in ingest.plan(source, settings).chunks:
            ingest.run_chunk(chunk, settings)
        return ingest.finish(source, settings)

    return run
