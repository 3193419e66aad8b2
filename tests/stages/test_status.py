from __future__ import annotations

import csv
from pathlib import Path

import pytest

from gzflow.catalog.failure import Failure
from gzflow.catalog.store import CatalogStore
from gzflow.errors import StoreError
from gzflow.settings import Settings
from gzflow.simulation.services import LoopbackServices
from gzflow.simulation.survey import SimulatedSurvey
from gzflow.stages import ingest
from gzflow.stages.status import export_failures, status


@pytest.fixture
def ingested(settings: Settings, run_ingest, tmp_path: Path) -> ingest.IngestSummary:
    """A survey of which every second galaxy lies where nothing was observed."""
    survey = SimulatedSurvey.draw("decals", 24, 7, pixels=64)
    with LoopbackServices(survey.sky(holes=0.5)) as services:
        files = survey.write(tmp_path / "simulated", services.url, rate=5000.0)
        return run_ingest(ingest.IngestSource(survey=str(files.toml), catalog=str(files.catalog)))


def test_status_accounts_for_every_galaxy(ingested: ingest.IngestSummary, settings: Settings):
    (row,) = status(settings)
    assert row.galaxies == sum(row.images.values())
    assert row.images["done"] == ingested.counts.done
    assert row.images["no-coverage"] == row.reasons["no-coverage"] > 0


def test_failures_are_exported_as_they_are(ingested: ingest.IngestSummary, settings: Settings, tmp_path: Path):
    awkward = 'said "no", then\n=2+2'
    with CatalogStore(settings.catalog_url) as store:
        store.record_failures("decals-sim", [Failure("zz, top", "ingest", "refused", awkward)])
    n = export_failures(settings, "decals-sim", tmp_path / "out" / "failures.csv")
    with (tmp_path / "out" / "failures.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == n == status(settings)[0].images["no-coverage"] + 1
    (mine,) = [row for row in rows if row["id_str"] == "zz, top"]
    assert mine["detail"] == awkward
    assert mine["survey"] == "decals-sim"
    assert mine["at"].endswith("+00:00")


def test_a_misspelt_survey_is_told_which_there_are(ingested: ingest.IngestSummary, settings: Settings):
    with pytest.raises(StoreError, match="one of decals-sim"):
        status(settings, "decal")


def test_where_nothing_was_ingested_nothing_is_shown_or_made(settings: Settings):
    assert status(settings) == []
    with pytest.raises(StoreError, match="there is none yet"):
        status(settings, "decals")
    assert not settings.home.exists()


def test_a_table_that_cannot_be_written_is_named(ingested: ingest.IngestSummary, settings: Settings):
    with pytest.raises(OSError, match="proc") as caught:
        export_failures(settings, "decals-sim", Path("/proc/failures.csv"))
    assert caught.value.filename is not None


def test_an_unknown_survey_has_no_failures_to_export(
    ingested: ingest.IngestSummary, settings: Settings, tmp_path: Path
):
    with pytest.raises(StoreError, match="not in the catalog store"):
        export_failures(settings, "gz2", tmp_path / "failures.csv")
    assert not (tmp_path / "failures.csv").exists()
