"""Report: one page that shows what a pipeline run did and how good its result is."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gzflow import __version__
from gzflow.catalog.store import CatalogStore
from gzflow.evaluation.colour import colour_note
from gzflow.evaluation.evaluation_tables import agreement_table, answer_table, calibration_table
from gzflow.evaluation.figures import (
    confusion_figure,
    contact_sheet,
    figure_jpeg,
    figure_png,
    reliability,
    sky_map,
)
from gzflow.evaluation.galaxy_table import galaxy_table
from gzflow.evaluation.metrics import Evaluation
from gzflow.evaluation.report import GalaxyCard, NextStep, Picture, Report, Section, write_report
from gzflow.evaluation.tables import Account, accounting_table, failure_table, headline_tiles, metric_table
from gzflow.model.morphology import read_spec
from gzflow.model.spec import ModelSpec
from gzflow.posterior import fractions, intervals
from gzflow.settings import Settings, without_password
from gzflow.shards.header import SPLITS
from gzflow.shards.reader import ShardSet
from gzflow.stages.ingest import IngestSummary
from gzflow.stages.leakage import LEAK_ARCSEC
from gzflow.stages.predict import PredictSummary
from gzflow.stages.scoring import load_evaluation
from gzflow.stages.shard import ShardSummary
from gzflow.stages.train_summary import TrainSummary
from gzflow.stages.training_log import described_curves
from gzflow.surveys import Survey, load_survey
from gzflow.tree import DecisionTree

logger = logging.getLogger(__name__)

SHEET = 48
"""Galaxies on the contact sheet."""
MATRICES = 4
"""Confusion matrices shown; the questions with the most galaxies come first."""


@dataclass(frozen=True)
class PipelineRun:
    """The summaries of a run's stages, and the survey as the user named it."""

    survey: str
    ingested: IngestSummary
    sharded: ShardSummary
    trained: TrainSummary
    predicted: PredictSummary


@dataclass(frozen=True)
class ReportSummary:
    """Where the page is, and the run behind it."""

    report: Path
    run: PipelineRun


def build(run: PipelineRun, settings: Settings) -> ReportSummary:
    """Write the page of a pipeline run; everything it needs is read back from what the stages wrote."""
    survey = load_survey(run.survey)
    shards = ShardSet.open(run.sharded.folder)
    evaluation, ids, concentrations, votes = load_evaluation(run.trained.folder)
    spec = read_spec(run.trained.folder / "model")
    means = fractions(concentrations, shards.tree) if len(ids) else np.zeros((0, len(shards.tree.answers)))
    title = survey.about.title or survey.name
    report = Report(
        title=title,
        subtitle=f"{run.predicted.counts.done:,} galaxies predicted by {run.trained.model} version"
        f" {run.predicted.version}",
        tiles=headline_tiles(evaluation) if evaluation else (),
        sections=(
            _accounting(run, survey, settings),
            _galaxies(shards),
            _training(run.trained),
            *_scores(evaluation, means, votes, shards.tree, spec.n_channels),
            *_gallery(run.predicted),
            *_one_galaxy(shards, ids, concentrations, votes, spec),
        ),
        provenance=_provenance(run, shards, settings),
        acknowledgements=tuple(text for text in (survey.about.acknowledgement, survey.about.citation) if text),
        next_steps=next_steps(run, settings),
        image_rights=survey.about.image_rights,
    )
    path = settings.reports(survey.name) / "report.html"
    write_report(report, path)
    logger.info("%s: report %s", survey.name, path)
    return ReportSummary(path, run)


def _accounting(run: PipelineRun, survey: Survey, settings: Settings) -> Section:
    steps = (
        ("catalog and images", run.ingested.counts),
        ("shards", run.sharded.counts),
        ("predictions", run.predicted.counts),
    )
    accounts = [
        Account(step, counts.n_in, counts.done, counts.failed + counts.to_do, counts.filtered) for step, counts in steps
    ]
    with CatalogStore(settings.catalog_url) as store:
        failures = store.failures(survey.name)
    kinds = [
        (stage, reason, len(rows), f"{rows['id_str'][0]}: {rows['detail'][0].splitlines()[0]}")
        for (stage, reason), rows in failures.group_by(["stage", "reason"], maintain_order=True)
    ]
    return Section(
        "Every galaxy accounted for",
        text=run.ingested.notes,
        items=(accounting_table(accounts), failure_table(kinds, fold=len(kinds) > 8)),
    )


def _galaxies(shards: ShardSet) -> Section:
    sheet: list[NDArray[np.uint8]] = []
    names: list[str] = []
    for reader in shards.readers("test") or shards.readers():
        rows = range(min(len(reader), SHEET - len(sheet)))
        sheet += list(reader.images(list(rows))) if rows else []
        names += [reader.ids[row] for row in rows]
    ra, dec, groups = _positions(shards)
    pictures = [
        Picture(
            figure_jpeg(
                contact_sheet(np.stack(sheet), names, title="Galaxies", subtitle="the first of the test split")
            ),
            alt=f"{len(sheet)} galaxies of {shards.survey}",
            shows_galaxies=True,
        )
    ]
    if np.isfinite(ra).any():
        pictures.append(
            Picture(figure_png(sky_map(ra, dec, groups)), alt="Positions of the galaxies on the sky by split")
        )
    return Section("The galaxies", items=tuple(pictures))


def _training(trained: TrainSummary) -> Section:
    stored = json.loads((trained.folder / "training.json").read_text("utf-8"))
    figure = described_curves(stored)
    seconds = sum(epoch["seconds"] for epoch in stored["history"])
    kept = f"the weights of epoch {trained.best_epoch + 1}, the best on the validation galaxies, were kept"
    if stored.get("refit"):
        kept += ", and their head trained once more on the features that they give"
    if trained.members > 1:
        kept = f"means over {trained.members} members, each with the weights of its own best epoch"
    text = (
        f"{trained.n_epochs} epochs in {seconds:.0f} s; {kept}. {trained.sentence()}. {trained.n_leaked:,} test"
        f" galaxies were left out: a training galaxy lies within {LEAK_ARCSEC:g} arcsec; {trained.n_overlapping:,}"
        " others have a stamp that overlaps one that was trained on."
    )
    return Section("Training", (text,), items=(Picture(figure_png(figure), alt="Loss by epoch"),))


def _scores(
    evaluation: Evaluation | None, means: NDArray[Any], votes: NDArray[Any], tree: DecisionTree, n_channels: int
) -> tuple[Section, ...]:
    if evaluation is None:
        return (Section("How good it is", ("No test galaxy has votes: there is nothing to score.",)),)
    matrices = sorted((m for m in evaluation.confusions if m.n), key=lambda m: -m.n)[:MATRICES]
    pictures = [
        Picture(figure_png(confusion_figure(matrix)), alt=f"Confusion matrix of {matrix.question}", wide=False)
        for matrix in matrices
    ]
    pictures.append(
        Picture(
            figure_png(reliability(means, votes, tree, floor=evaluation.floor)),
            alt="Predicted against observed fractions",
        )
    )
    folded = [metric_table(evaluation, selection, fold=True) for selection in ("asked", "confident")]
    folded += [agreement_table(evaluation, "half-asked", fold=True), answer_table(evaluation, fold=True)]
    tables = (metric_table(evaluation, "half-asked"), calibration_table(evaluation))
    return (Section("How good it is", (colour_note(n_channels),), items=(*tables, *pictures, *folded)),)


def _gallery(predicted: PredictSummary) -> tuple[Section, ...]:
    if predicted.gallery is None:
        return ()
    picture = Picture(predicted.gallery.read_bytes(), alt="The top galaxies for each answer", shows_galaxies=True)
    return (Section("Top galaxies by answer", items=(picture,)),)


def _one_galaxy(
    shards: ShardSet, ids: Sequence[str], concentrations: NDArray[Any], votes: NDArray[Any], spec: ModelSpec
) -> tuple[Section, ...]:
    """The test galaxy whose volunteers were asked the most questions, as model and volunteers see it."""
    if not len(ids):
        return ()
    asked = np.stack([votes[:, part].sum(1) for part in shards.tree.slices], axis=1)
    row = int(np.lexsort((asked.sum(1), np.minimum(asked, 5).sum(1)))[-1])
    one = concentrations[row : row + 1]
    mean, (lower, upper) = fractions(one, shards.tree)[0], intervals(one, shards.tree)
    table = galaxy_table(ids[row], mean, lower[0], upper[0], shards.tree, votes=votes[row], withheld=spec.unidentified)
    picture = None
    for reader in shards.readers("test"):
        if ids[row] in reader.ids:
            sheet = contact_sheet(reader.images([reader.ids.index(ids[row])]), columns=1)
            picture = Picture(figure_jpeg(sheet), alt=f"Galaxy {ids[row]}", shows_galaxies=True, wide=False)
    text = "A test galaxy: the model never saw it. Questions that hardly anyone would be asked are grey."
    return (Section("One galaxy", (text,), items=(GalaxyCard(table, picture),)),)


def _positions(shards: ShardSet) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    parts = [(split, reader) for split in SPLITS for reader in shards.readers(split)]
    ra = np.concatenate([reader.ra for _, reader in parts])
    dec = np.concatenate([reader.dec for _, reader in parts])
    return ra, dec, [split for split, reader in parts for _ in range(len(reader))]


def _provenance(run: PipelineRun, shards: ShardSet, settings: Settings) -> dict[str, str]:
    return {
        "survey": run.ingested.survey,
        "tree": shards.tree.fingerprint,
        "shards": f"{run.sharded.folder} ({shards.fingerprint})",
        "model": f"models:/{run.trained.model}/{run.trained.version} ({run.trained.alias})",
        "MLflow run": run.trained.url or run.trained.run_id,
        "MLflow store": without_password(settings.tracking_uri),
        "predictions": str(run.predicted.folder),
        "gzflow": __version__,
    }


def next_steps(run: PipelineRun, settings: Settings) -> tuple[NextStep, ...]:
    """Commands worth typing after a run."""
    store = shlex.quote(without_password(settings.tracking_uri))
    return (
        NextStep(f"mlflow ui --backend-store-uri {store}", "compare runs and look at the registered model"),
        NextStep("gzflow status", "what is in the store, the shards and the predictions"),
        NextStep(f"gzflow train {shlex.quote(run.survey)} --epochs 50", "train longer; it becomes the challenger"),
        NextStep(
            "gzflow pipeline rings.toml --catalog labels.csv --images my-images/ --pixels 128",
            "the same on your own images: README shows the whole rings.toml",
        ),
    )
