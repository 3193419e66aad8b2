"""Which survey is meant where a simulated sky may stand in for one that is not here yet."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from gzflow.errors import ShardError
from gzflow.settings import Settings
from gzflow.simulation.survey import SimulatedSurvey
from gzflow.stages import ingest, predict
from gzflow.stages.stand_in import stand_in
from gzflow.surveys import load_survey

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def sky() -> SimulatedSurvey:
    return SimulatedSurvey.draw("decals", 12, 3, pixels=32)


@pytest.fixture
def publish(sky: SimulatedSurvey, settings: Settings, write_shards):
    """Publishes the sky as the demo does, and writes shards of it."""

    def write(name: str, *, shards: bool = True, seconds: int = 0) -> Path:
        toml = sky.write(settings.simulated / name, NOWHERE, name=name).toml
        os.utime(toml, (seconds, seconds))
        if shards:
            write_shards(settings, sky, str(toml), {"train": 8, "validation": 2, "test": 2})
        return toml

    return write


def test_the_latest_simulated_sky_with_shards_stands_in(publish, settings, caplog):
    publish("decals-sim", seconds=10)
    latest = publish("decals-sim-200-1", seconds=20)
    publish("decals-sim-300-1", shards=False, seconds=30)
    assert stand_in("decals", settings) == str(latest)
    assert "decals-sim-200-1 stands in" in caplog.text
    assert stand_in("gz2", settings) == "gz2"


def test_real_galaxies_end_it(publish, settings, sky, tmp_path):
    publish("decals-sim")
    real = tmp_path / "real.csv"
    table = pl.read_csv(sky.write(tmp_path / "as-published", NOWHERE).catalog, infer_schema=False)
    carried = [column for columns in load_survey("decals").carried_columns().values() for column in columns]
    table.with_columns(pl.lit("").alias(name) for name in carried if name not in table.columns).write_csv(real)
    ingest.read(ingest.IngestSource(survey="decals", catalog=str(real)), settings)
    assert stand_in("decals", settings) == "decals"
    with pytest.raises(ShardError, match="gzflow shard decals"):
        predict.plan(predict.PredictOptions("decals", or_simulated=True), settings)


def test_only_who_asks_gets_it(publish, settings):
    publish("decals-sim")
    with pytest.raises(ShardError, match="survey decals has no"):
        predict.plan(predict.PredictOptions("decals"), settings)


def test_with_nothing_at_all_the_survey_itself_is_missed(settings):
    with pytest.raises(ShardError, match="survey decals has no"):
        predict.plan(predict.PredictOptions("decals", or_simulated=True), settings)
