from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from gzflow.settings import Settings
from gzflow.shards.header import ShardHeader, Split
from gzflow.shards.writer import begin_set, write_manifest, write_shard
from gzflow.simulation.survey import SimulatedSurvey
from gzflow.stages import ingest
from gzflow.surveys import load_survey


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


@pytest.fixture(scope="session")
def write_shards():
    """Writes shards straight from the simulation's pictures, without the service between."""

    def write(
        settings: Settings, survey: SimulatedSurvey, toml: str, sizes: Mapping[Split, int], positions=None
    ) -> Path:
        ra, dec = positions or (survey.galaxies["ra"], survey.galaxies["dec"])
        described = load_survey(toml)
        folder = settings.shards(described.name, survey.pixels)
        begin_set(folder)
        start, entries = 0, []
        for split, n in sizes.items():
            rows = slice(start, start + n)
            start += n
            header = ShardHeader(
                survey=described.name,
                tree=described.tree.to_dict(),
                recipe=described.image_recipe(survey.pixels),
                split=split,
            )
            entries.append(
                write_shard(
                    folder / f"{split}-00000.h5",
                    header,
                    images=np.stack([survey.picture(row) for row in range(rows.start, rows.stop)]),
                    votes=survey.votes.counts[rows],
                    ids=survey.ids[rows],
                    ra=ra[rows],
                    dec=dec[rows],
                    pixscale=survey.pixscale[rows],
                )
            )
        write_manifest(folder, header, entries)
        return folder

    return write
