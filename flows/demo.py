"""Demo: the whole pipeline on a simulated DECaLS sky, its services on loopback, its servers nothing but SQLite."""

from __future__ import annotations

import logging
import time
from typing import Annotated

from prefect import flow, task
from pydantic import Field

from flows.forms import Seed
from flows.hooks import HOOKS
from flows.pipeline import steps
from flows.runner import task_runner
from gzflow.settings import Settings
from gzflow.simulation.faults import Fault
from gzflow.simulation.services import LoopbackServices
from gzflow.simulation.survey import SimulatedSurvey, SurveyFiles
from gzflow.stages.ingest import IngestSource
from gzflow.stages.report import ReportSummary
from gzflow.training.config import TrainConfig

logger = logging.getLogger("gzflow.demo")

PIXELS = 64
GALAXIES, SEED = 2000, 42
EPOCHS = 24
RATE = 1000.0
"""Requests a second: a server on the same machine needs no mercy."""
HOLES = 0.005
"""Share of galaxies without coverage, so that the failure table shows what it is for."""
FAULTS = (Fault("unavailable", share=0.01), Fault("rate-limited", share=0.01))
"""Trouble of a kind that every service has; retries hide it from the result."""


@task(name="publish", cache_policy=None)
def publish(survey: SimulatedSurvey, settings: Settings, url: str, seed: int) -> SurveyFiles:
    """Catalog, truth and survey TOML of the simulated sky, as the real survey publishes them."""
    # Another sky is another survey: their galaxies must not meet in the store.
    standard = (len(survey.ids), seed) == (GALAXIES, SEED)
    name = "decals-sim" if standard else f"decals-sim-{len(survey.ids)}-{seed}"
    return survey.write(settings.simulated / name, url, name=name, rate=RATE)


@flow(name="pipeline", flow_run_name="pipeline-demo", task_runner=task_runner(2), **HOOKS)
def demo_pipeline(
    n_galaxies: Annotated[int, Field(ge=50, le=1_000_000)] = GALAXIES,
    epochs: Annotated[int, Field(ge=1)] = EPOCHS,
    seed: Seed = SEED,
) -> ReportSummary:
    """Simulate a survey, serve it on loopback, and run the pipeline on it.

    Args:
        n_galaxies: How many galaxies to simulate.
        epochs: Most epochs to train.
        seed: Of the sky, the volunteers and the training.
    """
    settings = Settings.load()
    survey = SimulatedSurvey.draw("decals", n_galaxies, seed, pixels=PIXELS)
    with LoopbackServices(survey.sky(holes=HOLES), faults=FAULTS, seed=seed) as services:
        files = publish(survey, settings, services.url, seed)
        source = IngestSource(survey=str(files.toml), catalog=str(files.catalog))
        return steps(source, settings, pixels=PIXELS, config=TrainConfig(epochs=epochs, seed=seed))


def demo(*, n_galaxies: int, epochs: int | None, seed: int) -> ReportSummary:
    """Run `demo_pipeline` here and say how long it took."""
    start = time.monotonic()
    summary = demo_pipeline(n_galaxies=n_galaxies, epochs=epochs or EPOCHS, seed=seed)
    logger.info("demo: %.0f s", time.monotonic() - start)
    return summary
