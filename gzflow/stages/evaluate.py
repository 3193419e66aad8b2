"""Evaluate: a model's scores on unseen test galaxies, in tables, slices and one page, logged beside its run."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gzflow.durable import replacing, write_json
from gzflow.errors import EvaluationError, NothingToScore, RecipeMismatch
from gzflow.evaluation.metrics import Evaluation, evaluate
from gzflow.evaluation.report import write_report
from gzflow.evaluation.selection import at_least, question_totals, usual_floor
from gzflow.evaluation.slices import GalaxyScores, Slice, SliceScore, numeric_slices, slice_scores, slices_of
from gzflow.evaluation.tables import question_rows
from gzflow.evaluation.weighting import WeightedScore, cells_of, weighted_scores
from gzflow.lock import exclusive
from gzflow.model.losses import constant_dirichlet
from gzflow.model.morphology import Morphology, read_spec
from gzflow.prediction.predict import Predictor
from gzflow.settings import Settings
from gzflow.shards.reader import ShardSet
from gzflow.stages.carried import carried_columns
from gzflow.stages.evaluation_page import page
from gzflow.stages.leakage import Leakage, ancestry, find_leaks
from gzflow.stages.run_file import folder_run
from gzflow.stages.scoring import SCORES, galaxy_scores
from gzflow.stages.shard_sets import find_shards
from gzflow.surveys import Survey, load_survey
from gzflow.tracking.logged_run import find_run
from gzflow.tracking.registry import ModelRef, Registry
from gzflow.tracking.run import Lineage, run_exists

logger = logging.getLogger(__name__)

REPORT = "evaluation.html"
RESULT = "evaluation.json"
"""The numbers of the tables, and which run they are logged in; written last."""
SLICES = "slices.parquet"
VOTES = "votes of the first questions"
_MEASURED = (
    "gain", "gain_lower", "gain_upper", "coverage90", "coverage90_lower", "coverage90_upper", "agreement", "mae",
)  # fmt: skip


@dataclass(frozen=True)
class EvaluateOptions:
    """What to evaluate, and how.

    Attributes
    ----------
    survey
        Shipped name or path of a TOML; the test galaxies of its shards are scored.
    model
        Version number or ``models:/`` URI; None is the champion.
    run
        Instead of a model, the run that made it: see `gzflow.tracking.logged_run.FORMS`.
    pixels
        Which of its shard sets; None is the one of the model's size.
    floor
        The fewest votes with which a galaxy counts for a question; None is 10, or fewer where volunteers were fewer.
    weight_by
        Columns that the survey carries: scores are also weighted to the distribution of these among all that were
        asked, for samples that were not acquired at random.
    samples
        Dropout samples a galaxy; None is as many as the model was made for.
    seed
        Of dropout, bootstrap and transforms.
    """

    survey: str
    model: str | None = None
    run: str | None = None
    pixels: int | None = None
    floor: int | None = None
    weight_by: tuple[str, ...] = ()
    samples: int | None = None
    seed: int = 42


@dataclass(frozen=True)
class Evaluated:
    """All that an evaluation found.

    Attributes
    ----------
    ids, concentrations, votes
        Of the test galaxies scored: n strings, (n, n_samples, n_answers), (n, n_answers).
    """

    survey: Survey
    shards: ShardSet
    model: ModelRef
    ids: Sequence[str]
    concentrations: NDArray[np.float32]
    votes: NDArray[np.int32]
    evaluation: Evaluation
    slices: tuple[SliceScore, ...]
    weighted: tuple[WeightedScore, ...]
    weight_by: tuple[str, ...]
    leakage: Leakage


@dataclass(frozen=True)
class EvaluateSummary:
    """Where the page is, and the headline with its baselines.

    Attributes
    ----------
    folder
        Holds the page, ``evaluation.json``, ``scores.parquet`` and ``slices.parquet``.
    questions
        One readable row a question; `sample` says which galaxies they are about.
    metrics
        As they were logged; None for a number that is not known.
    run_id, url
        Of the MLflow run, a child of the one that made the model.
    """

    survey: str
    model: str
    folder: Path
    report: Path
    headline: str
    questions: tuple[Mapping[str, str], ...]
    sample: str
    metrics: Mapping[str, float | None]
    run_id: str
    url: str | None

    def sentence(self) -> str:
        """One line for people."""
        return f"{self.model}: {self.headline}"


@dataclass(frozen=True)
class NotEvaluated:
    """Why a step of another stage scored nothing."""

    survey: str
    reason: str


def run_where_voted(
    options: EvaluateOptions, settings: Settings, *, flow_run: tuple[str, str] | None = None
) -> EvaluateSummary | NotEvaluated:
    """`run` for flows that also serve surveys without votes, or with other images than the model's: there, why not."""
    try:
        return run(options, settings, flow_run=flow_run)
    except (NothingToScore, RecipeMismatch) as error:
        survey = load_survey(options.survey).name
        logger.warning("%s: not evaluated: %s", survey, error.what)
        return NotEvaluated(survey, error.what)


def run(options: EvaluateOptions, settings: Settings, *, flow_run: tuple[str, str] | None = None) -> EvaluateSummary:
    """Score a model on the test galaxies that neither it nor an ancestor has seen; write and log what was found.

    The same options on the same model and shards are the same evaluation: a finished one is returned.

    Parameters
    ----------
    flow_run
        Id and address of the orchestrator's run.

    Raises
    ------
    NoChampion, TrackingError
        There is no such model or run.
    RecipeMismatch, ShardError
        No shards whose images were made as the model's were.
    NothingToScore
        Another tree; no test galaxy with votes.
    EvaluationError
        A column that is not carried.
    """
    survey = load_survey(options.survey)
    model = _model(options, survey, settings)
    spec = read_spec(model.folder).answering(survey.name)
    shards = find_shards(survey.name, options.pixels or spec.recipe.pixels, settings)
    spec.require_recipe(shards.recipe)
    if spec.tree.fingerprint != shards.tree.fingerprint:
        raise NothingToScore(
            f"{model.uri} answers another decision tree than the votes of {survey.name!r} are for",
            where=str(shards.folder),
            expected=f"tree {shards.tree.fingerprint}; the model's is {spec.tree.fingerprint}",
            fix="name a model of this survey with --model",
        )
    samples = spec.require_samples(options.samples)
    decisive = [model.uri, shards.fingerprint, samples, options.seed, options.floor, *options.weight_by]
    digest = hashlib.blake2b(json.dumps(decisive).encode(), digest_size=4).hexdigest()
    folder = settings.reports(survey.name) / f"evaluation-v{model.version or 'files'}-{digest}"
    with exclusive(folder, f"evaluating {model.uri} on {survey.name}"):
        if (known := _finished(folder, survey, model, settings)) is not None:
            return known
        found = _evaluated(options, survey, shards, model, samples, settings)
        return _concluded(found, folder, settings, flow_run)


def _model(options: EvaluateOptions, survey: Survey, settings: Settings) -> ModelRef:
    registry = Registry(settings)
    if options.run is not None:
        made = find_run(settings, options.run)
        if options.model is not None or not made.versions:
            raise EvaluationError(
                "a run and a model were named" if options.model else f"run {made.name} registered no model",
                expected="a run that registered a version, or a version",
                fix=f"`gzflow models {survey.name}` lists versions with their runs",
            )
        return registry.resolve(f"models:/{made.versions[-1]}")
    return registry.champion(survey.name) if options.model is None else registry.resolve(options.model, survey.name)


def _evaluated(
    options: EvaluateOptions, survey: Survey, shards: ShardSet, model: ModelRef, samples: int, settings: Settings
) -> Evaluated:
    ids, votes = np.array(shards.ids("test"), dtype=str), shards.votes("test")
    voted = votes.sum(axis=1) > 0
    # Positions are worth reading only where there is something to score.
    leakage = find_leaks(shards, ancestry(model, settings)) if voted.any() else Leakage(frozenset(), 0, 0, ())
    keep = np.array([id_str not in leakage.ids for id_str in ids], dtype=bool) & voted
    if not keep.any():
        raise NothingToScore(
            "there is no test galaxy to score",
            where=str(shards.folder),
            problems=[
                f"{len(ids):,} test galaxies, {voted.sum():,} of them with votes, {len(leakage.ids):,} seen in training"
            ],
            expected="a test galaxy with votes that the model has not seen",
            fix="ingest a catalog with votes, or evaluate on a survey that the model was not trained on",
        )
    # Before the encoder runs: a column that is not there is told at once.
    columns = _columns(survey, shards, ids[keep].tolist(), settings)
    if missing := [name for name in options.weight_by if name not in columns]:
        raise EvaluationError(
            "scores cannot be weighted by these columns",
            problems=[f"the store carries no {name} of survey {survey.name}" for name in missing],
            expected=f"some of: {', '.join(columns) or 'nothing is carried'}",
            fix="name them in `carry` of the survey's [catalog] and ingest again",
        )
    predictor = Predictor(Morphology.load(model.folder).answering(survey.name))
    parts = [predictor.predict(reader, n_samples=samples, seed=options.seed) for reader in shards.readers("test")]
    concentrations, votes = np.concatenate([part.concentrations for part in parts])[keep], votes[keep]
    totals = question_totals(votes, shards.tree)
    floors = {
        "floor": options.floor or usual_floor(totals, 10),
        "fraction_floor": max(options.floor or 1, usual_floor(totals, 20)),
    }
    baseline = constant_dirichlet(shards.votes("train"), shards.tree)
    evaluation = evaluate(concentrations, votes, shards.tree, baseline, **floors, seed=options.seed)
    scores = GalaxyScores.of(concentrations, votes, shards.tree, baseline, floors["floor"])
    names = [question.name for question in shards.tree.questions]
    cut = [part for name, values in columns.items() for part in slices_of(name, values)]
    cut += numeric_slices(VOTES, totals.max(axis=1))
    weights = [part for part in cut if part.variable in options.weight_by]
    return Evaluated(
        survey=survey,
        shards=shards,
        model=model,
        ids=ids[keep].tolist(),
        concentrations=concentrations,
        votes=votes,
        evaluation=evaluation,
        slices=slice_scores(scores, cut, names, seed=options.seed),
        weighted=_weighted(scores, weights, totals, names),
        weight_by=options.weight_by,
        leakage=leakage,
    )


def _weighted(
    scores: GalaxyScores, slices: Sequence[Slice], totals: NDArray[Any], names: Sequence[str]
) -> tuple[WeightedScore, ...]:
    return weighted_scores(scores, cells_of(slices, len(totals)), totals > 0, names) if slices else ()


def _columns(survey: Survey, shards: ShardSet, ids: Sequence[str], settings: Settings) -> dict[str, list[Any]]:
    """What the store and the shards know of galaxies beside votes, by name: numbers and text, no arrays."""
    readers = shards.readers("test")
    sizes = {
        id_str: float(scale)
        for reader in readers
        for id_str, scale in zip(reader.ids, reader.pixscale.tolist(), strict=True)
    }
    columns: dict[str, list[Any]] = {"pixel scale (arcsec)": [sizes[id_str] for id_str in ids]}
    return columns | carried_columns(survey.name, ids, settings)


def _concluded(found: Evaluated, folder: Path, settings: Settings, flow_run: tuple[str, str] | None) -> EvaluateSummary:
    """Write the files, log them, and close the evaluation."""
    tree, evaluation, survey = found.shards.tree, found.evaluation, found.survey
    lineage = Lineage(tree.fingerprint, found.shards.fingerprint, found.model.uri, *(flow_run or ()))
    parent = found.model.run_id if found.model.run_id and run_exists(settings, found.model.run_id) else None
    baseline = constant_dirichlet(found.shards.votes("train"), tree)
    with replacing(folder / SCORES) as temporary:
        galaxy_scores(np.array(found.ids), found.concentrations, found.votes, baseline, tree).write_parquet(temporary)
    with replacing(folder / SLICES) as temporary:
        slice_frame(found.slices).write_parquet(temporary)
    with folder_run(
        folder,
        settings,
        survey.name,
        name=f"evaluation-v{found.model.version or 'files'}",
        lineage=lineage,
        tags={"gzflow.kind": "evaluation"},
        parent_run_id=parent,
    ) as run_:
        run_.log_results(evaluation.metrics() | found.leakage.metrics())
        report, figures = page(found, settings, run_.url or run_.id)
        write_report(report, folder / REPORT)
        for name, content in figures.items():
            run_.log_bytes(f"figures/{name}", content)
        for name in (REPORT, SCORES, SLICES):
            run_.log_file(folder / name)
        total = evaluation.total
        headline = (
            f"test NLL {total.nll:.3f} (constant Dirichlet {total.nll_constant:.3f}, majority answer"
            f" {total.nll_majority:.3f}; {total.n:,} galaxies), 90 % intervals hold {100 * total.coverage:.1f} %"
            f" (questions with {at_least(evaluation.floor)})"
        )
        sample = (
            f"galaxies where at least half of the volunteers were asked, {at_least(evaluation.floor)} (MAE:"
            f" {evaluation.fraction_floor}); gain: NLL of the constant Dirichlet less the model's, with its 95 %"
            " bootstrap interval"
        )
        facts = {
            "model": found.model.uri,
            "run_id": run_.id,
            "url": run_.url,
            "headline": headline,
            "questions": question_rows(evaluation),
            "sample": sample,
            "metrics": {name: value if isfinite(value) else None for name, value in evaluation.metrics().items()},
            "unknown": list(found.leakage.unknown),
        }
    write_json(folder / RESULT, facts)
    logger.info("%s: %s: %s", survey.name, found.model.uri, headline)
    return _summary(survey, folder, facts)


def slice_frame(scores: Sequence[SliceScore]) -> pl.DataFrame:
    """One row a slice and question."""
    return pl.DataFrame(
        [
            {
                "variable": score.variable,
                "slice": score.label,
                "question": score.question,
                "n": score.n,
                "gain": score.gain.mean,
                "gain_lower": score.gain.lower,
                "gain_upper": score.gain.upper,
                "coverage90": score.coverage.mean,
                "coverage90_lower": score.coverage.lower,
                "coverage90_upper": score.coverage.upper,
                "agreement": score.agreement,
                "mae": score.mae,
            }
            for score in scores
        ],
        schema=dict.fromkeys(("variable", "slice", "question"), pl.String)
        | {"n": pl.Int64}
        | dict.fromkeys(_MEASURED, pl.Float64),
    )


def _finished(folder: Path, survey: Survey, model: ModelRef, settings: Settings) -> EvaluateSummary | None:
    path = folder / RESULT
    if not path.is_file():
        return None
    facts = json.loads(path.read_text("utf-8"))
    # Evaluations of earlier versions kept no table for people: they are made again, in their own run.
    if facts["model"] != model.uri or "questions" not in facts or not run_exists(settings, facts["run_id"]):
        return None
    return _summary(survey, folder, facts)


def _summary(survey: Survey, folder: Path, facts: Mapping[str, Any]) -> EvaluateSummary:
    return EvaluateSummary(
        survey=survey.name,
        model=facts["model"].removeprefix("models:/"),
        folder=folder,
        report=folder / REPORT,
        headline=facts["headline"],
        questions=tuple(facts["questions"]),
        sample=facts["sample"],
        metrics=facts["metrics"],
        run_id=facts["run_id"],
        url=facts["url"],
    )
