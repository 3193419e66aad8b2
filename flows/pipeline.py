"""Pipeline: ingest, shard, train, predict and the report, as tasks of one run."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows import ingest as ingest_flow
from flows import predict as predict_flow
from flows import report as report_flow
from flows import shard as shard_flow
from flows import train as train_flow
from flows.forms import Samples, Side, SurveyName, Training
from flows.hooks import HOOKS
from flows.origin import run_name
from flows.runner import task_runner
from gzflow.settings import Settings
from gzflow.stages.ingest import IngestSource
from gzflow.stages.predict import PredictOptions
from gzflow.stages.report import PipelineRun, ReportSummary
from gzflow.training.config import TrainConfig


def steps(
    source: IngestSource, settings: Settings, *, pixels: int, config: TrainConfig, samples: int | None = None
) -> ReportSummary:
    """All stages in order, inside whatever flow is running.

    The catalogue is made by the model that was trained here, champion or not: the report's scores are that model's.
    """
    ingested = ingest_flow.steps(source, settings)
    sharded = shard_flow.steps(source.survey, settings, pixels=pixels)
    trained = train_flow.steps(source.survey, settings, pixels=pixels, config=config)
    predicted = predict_flow.steps(
        PredictOptions(source.survey, pixels, model=trained.version, samples=samples, seed=config.seed), settings
    )
    return report_flow.steps(PipelineRun(source.survey, ingested, sharded, trained, predicted), settings)


@flow(name="pipeline", flow_run_name=run_name, task_runner=task_runner(2), **HOOKS)
def pipeline(
    survey: SurveyName,
    catalog: Path | None = None,
    mapping: Path | None = None,
    joins: dict[str, Path] | None = None,
    images_from: list[Path] | None = None,
    pixels: Side = 300,
    config: Training = train_flow.DEFAULTS,
    samples: Samples | None = None,
) -> ReportSummary:
    """Turn a survey into a catalogue: images, shards, a trained model, predictions and a report.

    Args:
        survey: A shipped survey's name, or the path of a TOML that describes yours.
        catalog: Table of galaxies and votes (CSV, Parquet, FITS, VOTable). Empty: what is in the store.
        mapping: Table from ids to file names, for surveys whose archive needs one (GZ2).
        joins: Further tables by the survey's name for them, e.g. gz2sample.
        images_from: Folders and ZIPs, read in place. Empty: the survey's cutout service.
        pixels: Side of the stored images.
        config: Training options.
        samples: Dropout samples of the head a galaxy. Empty: the model's number.
    """
    source = IngestSource.of(survey, catalog, mapping, joins, images_from)
    return steps(source, Settings.load(), pixels=pixels, config=config, samples=samples)
