"""Ingest from a cutout service: the real protocol on loopback, with trouble."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gzflow.catalog.store import CatalogStore
from gzflow.settings import Settings
from gzflow.simulation.faults import Fault
from gzflow.simulation.services import LoopbackServices
from gzflow.simulation.survey import SimulatedSurvey
from gzflow.stages import ingest
from gzflow.stages.counts import Counts, total

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


def done(settings: Settings) -> list[str]:
    with CatalogStore(settings.catalog_url) as store:
        return store.cutouts("decals-sim", states=["done"])["id_str"].to_list()


def test_every_galaxy_is_accounted_for(source, run_ingest, services, settings, survey):
    summary = run_ingest(source)
    counts = summary.counts
    assert counts.n_in == N
    assert counts.done + counts.filtered + counts.failed == N
    assert set(done(settings)) <= set(survey.ids)
    first = services.count("cutout")
    assert run_ingest(source).counts == counts
    assert services.count("cutout") == first, "the second run asked for an image again"


def test_a_service_in_trouble_gives_the_same_result(source, run_ingest, services, settings, tmp_path):
    services.faults = (
        Fault("rate-limited", attempts=1, share=0.3, retry_after=0.05),
        Fault("error", attempts=1, share=0.2),
        Fault("html", attempts=1, share=0.2),
        Fault("truncated", attempts=1, share=0.2),
        Fault("reset", attempts=1, share=0.2),
    )
    troubled = run_ingest(source).counts
    services.faults = ()
    calm = Settings.load({}, home=tmp_path / "calm")
    ingest.read(source, calm)
    chunks = ingest.plan(source, calm).chunks
    assert total(ingest.run_chunk(chunk, calm) for chunk in chunks).to_do == 0
    assert troubled == ingest.finish(source, calm).counts
    assert done(settings) == done(calm)


def test_what_was_not_observed_is_no_coverage_and_never_asked_again(survey, tmp_path, settings, run_ingest):
    with LoopbackServices(survey.sky(holes=1.0)) as nowhere:
        files = survey.write(tmp_path / "simulated", nowhere.url, rate=5000.0)
        source = ingest.IngestSource(survey=str(files.toml), catalog=str(files.catalog))
        counts = run_ingest(source).counts
        assert counts.done == 0
        assert counts.failed == N - counts.filtered
        asked = nowhere.count("cutout")
        assert run_ingest(source).counts == counts
        assert nowhere.count("cutout") == asked
        again = ingest.IngestSource(survey=source.survey, retry_failed=True)
        assert sum(len(chunk.ids) for chunk in ingest.plan(again, settings).chunks) == counts.failed


@pytest.mark.slow
def test_a_dead_service_leaves_everything_to_do_and_a_later_run_finishes(source, run_ingest, services, settings):
    url = services.url
    services.__exit__(None, None, None)
    down = run_ingest(source).counts
    assert down.done == 0
    assert down.to_do == N - down.filtered
    with CatalogStore(settings.catalog_url) as store:
        assert store.failures("decals-sim")["reason"].unique().to_list() == ["service-unavailable"]
    services._port = int(url.rsplit(":", 1)[1])
    services.__enter__()
    up = run_ingest(source).counts
    assert up == Counts(n_in=N, done=N - up.filtered, filtered=up.filtered)
    with CatalogStore(settings.catalog_url) as store:
        assert store.failures("decals-sim").is_empty()


def answers_end() -> None:
    """Wait until the server has noticed that nobody waits for its answers any more."""
    deadline = time.monotonic() + 100
    while any("process_request_thread" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_kill_9_in_the_middle_then_again(source, run_ingest, services, settings):
    services.faults = (Fault("drip", seconds=0.6),)
    script = (
        "from gzflow.settings import Settings; from gzflow.stages import ingest\n"
        f"s = Settings.load({{}}, home={str(settings.home)!r})\n"
        f"source = ingest.IngestSource(survey={source.survey!r}, catalog={source.catalog!r})\n"
        "ingest.read(source, s)\n"
        "for chunk in ingest.plan(source, s).chunks: ingest.run_chunk(chunk, s)"
    )
    for enough in (3, 8):
        child = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
        files = settings.home / "cutouts"
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and child.poll() is None and len(list(files.rglob("*.jpg"))) < enough:
            time.sleep(0.02)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    services.faults = ()
    answers_end()
    before = len(list(files.rglob("*.jpg")))
    assert before >= 3
    asked = services.count("cutout")
    counts = run_ingest(source).counts
    assert counts == Counts(n_in=N, done=N - counts.filtered, filtered=counts.filtered)
    assert services.count("cutout") - asked == counts.done - before, "files that were whole were fetched again"
    assert len(set(done(settings))) == len(done(settings)) == counts.done
