"""`gzflow plan` against what then happens: the demo's own sky and stages, planned first and run after that.

The sky, its service with faults on loopback, the rate and the stages are those of `gzflow demo`, inside a flow run as
there; training is cut to `--epochs`, for nothing is planned of it. A plan leaves out the start of the servers, and so
do the times here. What a stage does after its galaxies (pages, galleries, the evaluation of what was predicted) is
shown apart: it is not in the plan.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from timing import machine

from flows import environment
from gzflow.settings import Settings

TOLERANCE = 0.30


def compared(n_galaxies: int, epochs: int, seed: int) -> list[tuple[str, float, float, float]]:
    """(stage, seconds planned, seconds that its galaxies took, seconds in all)."""
    from prefect import flow

    from flows import demo, ingest, predict, shard, train
    from flows.runner import task_runner
    from gzflow.simulation.services import LoopbackServices
    from gzflow.simulation.survey import SimulatedSurvey
    from gzflow.stages import ingest_plan, predict_plan
    from gzflow.stages.ingest import IngestSource
    from gzflow.stages.predict import PredictOptions
    from gzflow.training.config import TrainConfig

    settings = Settings.load()
    survey = SimulatedSurvey.draw("decals", n_galaxies, seed, pixels=demo.PIXELS)

    @flow(task_runner=task_runner(2))
    def planned() -> list[tuple[str, float, float, float]]:
        with LoopbackServices(survey.sky(holes=demo.HOLES), faults=demo.FAULTS, seed=seed) as services:
            files = demo.publish(survey, settings, services.url, seed)
            source = IngestSource(survey=str(files.toml), catalog=str(files.catalog))
            forecast = ingest_plan.forecast(source, settings)
            found = [("ingest", forecast.seconds or 0.0, *timed(ingest, lambda: ingest.steps(source, settings)))]
        assert forecast.catalog is not None
        assert forecast.catalog.n_in == n_galaxies
        shard.steps(source.survey, settings, pixels=demo.PIXELS)
        config = TrainConfig(epochs=epochs, seed=seed)
        trained = train.steps(source.survey, settings, pixels=demo.PIXELS, config=config)
        options = PredictOptions(source.survey, demo.PIXELS, model=trained.version, seed=seed)
        expected = predict_plan.forecast(options, settings)
        found.append(("predict", expected.seconds, *timed(predict, lambda: predict.steps(options, settings))))
        return found

    return planned()


def timed(module: ModuleType, steps: Callable[[], object]) -> tuple[float, float]:
    """(until the last chunk's end, in all) in seconds."""
    ends: list[float] = []
    run_chunks = module.run_chunks

    def watched(*arguments: object) -> object:
        result = run_chunks(*arguments)
        ends.append(time.perf_counter())
        return result

    module.run_chunks = watched
    start = time.perf_counter()
    try:
        steps()
    finally:
        module.run_chunks = run_chunks
    return ends[-1] - start, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--galaxies", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    os.environ.pop("PREFECT_API_URL", None)
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GZFLOW_HOME"] = str(Path(folder) / "home")
        environment.prepare(Settings.load())
        for stage, planned, took, whole in compared(options.galaxies, options.epochs, options.seed):
            off = planned / took - 1
            word = "within" if abs(off) <= TOLERANCE else "NOT WITHIN"
            print(
                f"{stage:<8} planned {planned:7.2f} s   took {took:7.2f} s   {off:+6.1%}, {word} {TOLERANCE:.0%}"
                f"   with pages and evaluation {whole:7.2f} s"
            )
    print(machine())


if __name__ == "__main__":
    main()
