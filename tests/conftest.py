from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

# The same examples on each machine, however slow; `pytest --hypothesis-profile default` looks for new ones.
settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Small real catalogs, images and FITS kept beside the repository."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real sample data is not beside this checkout (../shared/data)")
    return folder


@pytest.fixture(scope="session")
def write_shards():
    """Writes shards straight from the simulation's pictures, without the service between."""
    import numpy as np

    from gzflow.shards.header import ShardHeader
    from gzflow.shards.writer import begin_set, write_manifest, write_shard
    from gzflow.surveys import load_survey

    def write(settings, survey, toml: str, sizes: Mapping[str, int], positions=None) -> Path:
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
