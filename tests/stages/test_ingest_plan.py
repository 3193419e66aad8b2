"""What a plan says of an ingest, and what the ingest then does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from gzflow.catalog.store import CatalogStore
from gzflow.errors import StoreError
from gzflow.settings import Settings
from gzflow.simulation.faults import Fault
from gzflow.simulation.services import LoopbackServices
from gzflow.simulation.survey import SimulatedSurvey
from gzflow.stages import ingest
from gzflow.stages.counts import Counts, total
from gzflow.stages.ingest_plan import expected_pace, forecast
from gzflow.stages.ingest_sample import IngestSample
from gzflow.surveys import load_survey
from tests.survey_files import RINGS

N = 24


@pytest.fixture(scope="module")
def survey() -> SimulatedSurvey:
    return SimulatedSurvey.draw("decals", N, 7, pixels=64)


@pytest.fixture
def services(survey: SimulatedSurvey) -> Iterator[LoopbackServices]:
    with LoopbackServices(survey.sky()) as running:
        yield running


@pytest.fixture
def source(survey: SimulatedSurvey, services: LoopbackServices, tmp_path: Path) -> ingest.IngestSource:
    files = survey.write(tmp_path / "simulated", services.url, rate=5000.0)
    return ingest.IngestSource(survey=str(files.toml), catalog=str(files.catalog))


def galaxies_of(folder: Path, n: int) -> ingest.IngestSource:
    """A survey whose images lie in a folder, the last of them missing."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["id_str,file,ring_yes,ring_no"]
    for row in range(n):
        if row < n - 1:
            picture = cv2.GaussianBlur(rng.integers(0, 256, (424, 424, 3), dtype=np.uint8), (0, 0), 2)
            cv2.imwrite(str(folder / "images" / f"{row}.jpg"), picture)
        lines.append(f"g{row},{row}.jpg,{row % 3},1")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    (folder / "rings.toml").write_text(RINGS)
    return ingest.IngestSource(
        survey=str(folder / "rings.toml"), catalog=str(folder / "labels.csv"), images=(str(folder / "images"),)
    )


def run(source: ingest.IngestSource, settings: Settings) -> float:
    """Seconds of an ingest with two chunks at a time, as the flow runs them."""
    start = time.perf_counter()
    ingest.read(source, settings)
    with ThreadPoolExecutor(2) as pool:
        total(pool.map(lambda chunk: ingest.run_chunk(chunk, settings), ingest.plan(source, settings).chunks))
    ingest.finish(source, settings)
    return time.perf_counter() - start


def test_a_plan_counts_every_galaxy_and_keeps_nothing(source, services, settings: Settings):
    found = forecast(source, settings, sample=8)
    assert found.catalog is not None
    assert found.catalog.n_in == N
    assert found.galaxies == found.to_do == N - found.catalog.filtered - found.catalog.failed
    assert found.requests == found.to_do
    assert found.sample is not None
    assert (found.sample.galaxies, found.sample.done, found.sample.troubles) == (8, 1.0, {})
    assert found.bytes == pytest.approx(found.sample.bytes_per_image * found.to_do)
    assert found.galaxies_per_s is not None
    assert found.seconds == pytest.approx(found.reading_s + found.to_do / found.galaxies_per_s)
    assert not settings.home.exists()
    assert services.count("cutout") <= 8 + 2, "a sample asks for its galaxies, and one a worker ahead of them"


def test_after_the_run_nothing_is_to_do_and_the_size_was_right(source, settings: Settings, run_ingest):
    found = forecast(source, settings, sample=20)
    run_ingest(source)
    with CatalogStore(settings.catalog_url) as store:
        written = store.cutouts("decals-sim")["bytes"].sum()
    assert found.bytes == pytest.approx(written, rel=0.1)
    after = forecast(source, settings)
    assert (after.to_do, after.finished, after.sample) == (0, found.to_do, None)
    assert after.images_s == 0


def test_only_new_galaxies_of_a_larger_catalog_are_to_do(source, settings: Settings, run_ingest, tmp_path: Path):
    lines = Path(source.catalog).read_text().splitlines(keepends=True)
    half = tmp_path / "half.csv"
    half.write_text("".join(lines[: N // 2 + 1]))
    first = run_ingest(ingest.IngestSource(source.survey, str(half)))
    found = forecast(source, settings, sample=4)
    assert found.finished == first.counts.done
    assert found.to_do == found.galaxies - first.counts.done > 0


def test_without_a_sample_no_request_is_sent(source, services, settings: Settings):
    found = forecast(source, settings, sample=0)
    assert services.count() == 0
    assert found.held_back
    assert found.galaxies_per_s == 5000
    assert found.bytes is None
    assert found.seconds is not None


@pytest.mark.parametrize(
    ("measured", "attempts", "put_off", "pace", "held_back"),
    [
        (1000.0, 1.0, 0.0, 40.0, True),
        (37.0, 1.0, 0.0, 40.0, True),
        (20.0, 1.0, 0.0, 20.0, False),
        (19.0, 2.0, 0.0, 20.0, True),
        (3.0, 5.0, 0.9, 40.0, True),
    ],
    ids=["fast", "nearly", "slow", "twice", "in-trouble"],
)
def test_the_surveys_rate_holds_a_fast_service_back(
    source, measured: float, attempts: float, put_off: float, pace: float, held_back: bool
):
    """Numbers are given, not measured: how fast this machine is must not decide."""
    survey = load_survey(source.survey)
    cutout = survey.cutout.model_copy(update={"rate": 40.0})
    sample = IngestSample(16, measured, 1.0 - put_off, put_off, 2000.0, attempts, {})
    found = expected_pace(survey.model_copy(update={"cutout": cutout}), source, sample, None)
    assert found[:2] == (pytest.approx(pace), held_back)


def test_repetitions_count_as_requests(source, services, settings: Settings):
    services.faults = (Fault("error", attempts=1, share=1.0),)
    found = forecast(source, settings, sample=2)
    assert found.sample is not None
    assert found.sample.attempts_per_galaxy >= 2
    assert found.requests == round(found.sample.attempts_per_galaxy * found.to_do)


def test_a_survey_that_was_never_ingested_needs_a_catalog(source, settings: Settings):
    with pytest.raises(StoreError, match="--catalog FILE"):
        forecast(ingest.IngestSource(source.survey), settings)
    assert not settings.home.exists()


@pytest.mark.slow
def test_a_service_that_cuts_slowly_is_in_no_trouble(source, services, settings: Settings):
    services.faults = (Fault("drip", attempts=1, share=1.0, seconds=11.0),)
    found = forecast(source, settings, sample=2)
    assert found.sample is not None
    assert found.sample.attempts_per_galaxy == 1.0


def test_files_are_planned_without_any_service(tmp_path: Path, settings: Settings):
    source = galaxies_of(tmp_path / "rings", 20)
    found = forecast(source, settings)
    assert (found.galaxies, found.to_do, found.requests) == (20, 20, 0)
    assert found.sample is not None
    assert found.sample.troubles == {"missing-image": 1} or found.sample.galaxies < 20
    assert found.catalog == Counts(n_in=20, done=20)


@pytest.mark.slow
def test_a_dead_service_is_told_within_the_patience_of_a_plan(source, services, settings: Settings, monkeypatch):
    monkeypatch.setattr("gzflow.stages.ingest_sample.PATIENCE", 2.0)
    services.__exit__(None, None, None)
    found = forecast(source, settings, sample=4)
    assert found.sample is not None
    assert found.sample.put_off == 1.0
    assert set(found.sample.troubles) == {"service-unavailable"}
    assert found.held_back
    assert found.bytes is None


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("kind", ["service", "files"])
def test_the_time_is_right_within_30_per_cent(kind: str, tmp_path: Path):
    """Other work on the machine may fall on either measurement alone, so one of eight tries must hold."""
    if kind == "service":
        survey = SimulatedSurvey.draw("decals", 300, 7, pixels=64)
        with LoopbackServices(survey.sky(holes=0.005)) as services:
            files = survey.write(tmp_path / "simulated", services.url, rate=50.0)
            ratios = _ratios(ingest.IngestSource(str(files.toml), str(files.catalog)), tmp_path)
    else:
        ratios = _ratios(galaxies_of(tmp_path / "rings", 700), tmp_path)
    assert any(0.7 < ratio < 1.3 for ratio in ratios), ratios


def _ratios(source: ingest.IngestSource, folder: Path) -> list[float]:
    ratios: list[float] = []
    while len(ratios) < 8 and not any(0.7 < ratio < 1.3 for ratio in ratios):
        settings = Settings.load({}, home=folder / f"home-{len(ratios)}")
        planned = forecast(source, settings).seconds
        assert planned is not None
        ratios.append(planned / run(source, settings))
    return ratios
