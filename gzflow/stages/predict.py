"""Predict: one model version, pinned, over all shards of a survey, part by part."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow.parquet as pq

from gzflow import __version__
from gzflow.durable import write_bytes, write_json
from gzflow.errors import PredictionError
from gzflow.evaluation.drift import Drift
from gzflow.evaluation.figures import figure_jpeg
from gzflow.lock import exclusive
from gzflow.model.morphology import Morphology, read_spec, read_support
from gzflow.prediction.export import layout, part_table, write_part
from gzflow.prediction.predict import Precision, Predictor
from gzflow.settings import Settings
from gzflow.shards.header import MANIFEST, ShardEntry
from gzflow.shards.reader import ShardReader, ShardSet
from gzflow.stages.counts import Counts
from gzflow.stages.drift import log_drift, report_drift
from gzflow.stages.gallery import gallery
from gzflow.stages.shard_sets import find_shards
from gzflow.stages.stand_in import stand_in
from gzflow.surveys import load_survey, survey_names
from gzflow.tracking.registry import Registry

logger = logging.getLogger(__name__)
_turn = Lock()

PIN = "run.json"
"""Written before the first part: which model this run is about."""
FILES = "files"
"""Stands for the version of a model that is only files."""


@dataclass(frozen=True)
class PredictOptions:
    """What to predict, and with what.

    Attributes
    ----------
    survey
        Shipped name or path of a TOML; its shards are predicted.
    pixels
        Which of its shard sets; None is the only one.
    model
        Version number or ``models:/`` URI; None is the survey's champion.
    samples, seed
        Dropout samples a galaxy (None is as many as the model was made for), and what decides them.
    allow_recipe_mismatch
        Predict on images made another way than the model's; every row says so.
    keep_concentrations
        Write every sample's concentrations as well.
    precision
        Of the encoder; "auto" is bfloat16 on CUDA and float32 on a CPU, where "bfloat16" is half again as fast.
    fresh
        Leave an unfinished run of another model version where it is and begin anew.
    or_simulated
        As long as nothing of the survey was ingested, predict the demo's simulated sky of it, under that one's name.
    """

    survey: str
    pixels: int | None = None
    model: str | None = None
    samples: int | None = None
    seed: int = 42
    allow_recipe_mismatch: bool = False
    keep_concentrations: bool = False
    precision: Precision = "auto"
    fresh: bool = False
    or_simulated: bool = False


@dataclass(frozen=True)
class PinnedRun:
    """Which model would predict which shards, and where the catalogue would lie.

    Attributes
    ----------
    survey
        Shipped name or path of its TOML.
    pins
        Everything that decides the catalogue, as it is written to its folder.
    tree
        The model's decision tree as JSON.
    learnt_from
        Surveys whose volunteers taught the model: see `ModelSpec.learnt_from`.
    """

    survey: str
    shards: ShardSet
    model_folder: Path
    folder: Path
    pins: Mapping[str, Any]
    tree: str
    learnt_from: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """Dropout samples a galaxy."""
        return int(self.pins["samples"])


@dataclass(frozen=True)
class PredictChunk:
    """One shard, which becomes one part."""

    shard: str
    part: str
    model_folder: str
    samples: int
    seed: int
    keep_concentrations: bool
    allow_recipe_mismatch: bool
    precision: Precision
    metadata: Mapping[str, str]
    n: int


@dataclass(frozen=True)
class PredictPlan:
    """A pinned run.

    Attributes
    ----------
    pages
        Of the model version and of the run that made it, where a server shows them.
    """

    survey: str
    shards: str
    folder: str
    pinned: Mapping[str, Any]
    chunks: tuple[PredictChunk, ...]
    n_galaxies: int
    pages: tuple[str | None, str | None] = (None, None)


@dataclass(frozen=True)
class PredictSummary:
    """A finished catalogue.

    Attributes
    ----------
    folder
        Holds ``part-*.parquet`` and ``manifest.json``.
    gallery
        Picture of the top galaxies by answer; None where the survey's images may not be shown.
    drift
        How these galaxies differ from those of the training; None where the model does not know them.
    """

    survey: str
    folder: Path
    counts: Counts
    model: str
    version: str
    run_id: str
    gallery: Path | None
    drift: Drift | None = None

    def sentence(self) -> str:
        """One line for people."""
        return f"{self.counts.done:,} galaxies predicted by {self.model} version {self.version}: {self.folder}"

    def drift_sentence(self) -> str:
        """One line on whether these galaxies are like those that the model knows."""
        if self.drift is None:
            return (
                "The model was trained before gzflow kept a support: nothing tells which galaxies are unlike its own."
            )
        return f"{'Warning: ' if self.drift.drifts else ''}{self.drift.sentence()}."


def pin(options: PredictOptions, settings: Settings) -> PinnedRun:
    """What a run with these options would be about now; nothing is written.

    Raises
    ------
    NoChampion
        No model yet, and none named.
    RecipeMismatch
        The shards' images were made another way than the model's.
    ModelError
        Fewer samples than the model has members.
    """
    survey_name = stand_in(options.survey, settings) if options.or_simulated else options.survey
    survey = load_survey(survey_name)
    shards = find_shards(survey.name, options.pixels, settings)
    registry = Registry(settings)
    ref = registry.champion(survey.name) if options.model is None else registry.resolve(options.model, survey.name)
    spec = read_spec(ref.folder).answering(survey.name)
    differences = spec.require_recipe(shards.recipe, allow=options.allow_recipe_mismatch)
    pinned = {
        "model": ref.name,
        "version": ref.version or FILES,
        "model_uri": ref.uri,
        "run_id": ref.run_id or "",
        "training_fingerprint": spec.training_fingerprint or "",
        "tree_fingerprint": spec.tree.fingerprint,
        "shard_fingerprint": shards.fingerprint,
        "samples": spec.require_samples(options.samples),
        "seed": options.seed,
        "keep_concentrations": options.keep_concentrations,
        "precision": options.precision,
        "layout": layout(read_support(ref.folder) is not None),
        "recipe_mismatch": "; ".join(differences),
    }
    digest = hashlib.blake2b(json.dumps(pinned, sort_keys=True).encode(), digest_size=4).hexdigest()
    folder = settings.predictions(survey.name) / f"v{pinned['version']}-{digest}"
    tree = json.dumps(spec.tree.to_dict())
    return PinnedRun(survey_name, shards, ref.folder, folder, pinned, tree, spec.learnt_from)


def part_path(folder: Path, entry: ShardEntry) -> Path:
    """The part of the catalogue in `folder` that a shard becomes."""
    return folder / f"part-{Path(entry.file).stem}.parquet"


def part_metadata(run: PinnedRun) -> dict[str, str]:
    """What every part says about itself, but for its split."""
    survey = load_survey(run.survey)
    # A survey of the user's own, once its model is made, is known by name alone.
    others = [load_survey(name) for name in run.learnt_from if name != survey.name and name in survey_names()]
    thanked = [one.about for one in (survey, *others)]
    return {
        "gzflow_version": __version__,
        "survey": survey.name,
        "tree": run.tree,
        "learnt_from": ", ".join(run.learnt_from),
        "citation": "; ".join(filter(None, dict.fromkeys(about.citation for about in thanked))),
        "licence": survey.about.licence,
        "acknowledgement": " ".join(filter(None, dict.fromkeys(about.acknowledgement for about in thanked))),
    } | {name: str(value) for name, value in run.pins.items()}


def plan(options: PredictOptions, settings: Settings) -> PredictPlan:
    """A pinned run: the alias is looked up once, and what it pointed to is written down before the first part.

    Raises
    ------
    NoChampion, RecipeMismatch, ModelError
        As `pin`.
    PredictionError
        An unfinished run is pinned to another version.
    """
    run = pin(options, settings)
    if not options.fresh:
        _refuse_other_unfinished(run.folder, run.pins)
    write_json(run.folder / PIN, run.pins)
    metadata = part_metadata(run)
    chunks = tuple(
        PredictChunk(
            shard=str(run.shards.folder / entry.file),
            part=str(part_path(run.folder, entry)),
            model_folder=str(run.model_folder),
            samples=run.samples,
            seed=options.seed,
            keep_concentrations=options.keep_concentrations,
            allow_recipe_mismatch=options.allow_recipe_mismatch,
            precision=options.precision,
            metadata=metadata | {"split": entry.split},
            n=entry.n,
        )
        for entry in run.shards.entries()
    )
    name, version = str(run.pins["model"]), str(run.pins["version"])
    pages = (None, None) if version == FILES else Registry(settings).pages(name, version)
    return PredictPlan(run.survey, str(run.shards.folder), str(run.folder), run.pins, chunks, run.shards.n(), pages)


def alone(plan_: PredictPlan) -> AbstractContextManager[None]:
    """Keep every other run out of the catalogue's folder until after `finish`: it would do the same work again.

    Raises
    ------
    Busy
        On entering: another run is at it.
    """
    return exclusive(Path(plan_.folder), f"predicting {plan_.survey} with {plan_.pinned['model_uri']}")


def run_chunk(chunk: PredictChunk, settings: Settings) -> Counts:  # noqa: ARG001 - a stage's chunks all look alike
    """Counts after writing one part; one that is there is left as it is."""
    part = Path(chunk.part)
    if part.is_file() and pq.read_metadata(part).num_rows == chunk.n:
        return Counts(n_in=chunk.n, done=chunk.n, reused=chunk.n)
    # One part at a time a process: the network keeps every core or the accelerator busy by itself.
    with _turn:
        predictor = _predictor(chunk.model_folder, chunk.metadata["survey"], chunk.precision)
        predicted = predictor.predict(
            ShardReader(Path(chunk.shard)),
            n_samples=chunk.samples,
            seed=chunk.seed,
            allow_recipe_mismatch=chunk.allow_recipe_mismatch,
        )
    tree = predictor.model.tree
    table = part_table(predicted, tree, chunk.metadata, keep_concentrations=chunk.keep_concentrations)
    write_part(part, table)
    return Counts(n_in=chunk.n, done=table.num_rows).balanced(f"prediction of {part.name}")


def finish(
    plan_: PredictPlan, counts: Counts, settings: Settings, *, flow_run: tuple[str, str] | None = None
) -> PredictSummary:
    """The closed catalogue, with its manifest and the gallery of top galaxies; `flow_run` as in `run_training`."""
    survey = load_survey(plan_.survey)
    folder = Path(plan_.folder)
    entries = [
        {"file": Path(chunk.part).name, "shard": Path(chunk.shard).name, "n": chunk.n, "split": chunk.metadata["split"]}
        for chunk in plan_.chunks
    ]
    counts = counts.balanced(f"prediction of {survey.name}")
    model_folder = Path(plan_.chunks[0].model_folder)
    parts = [Path(chunk.part) for chunk in plan_.chunks]
    picture = None
    if survey.about.image_rights == "open":
        picture = folder / "top-galaxies.jpg"
        shards = [Path(chunk.shard) for chunk in plan_.chunks]
        tree = read_spec(model_folder).answering(survey.name).tree
        write_bytes(picture, figure_jpeg(gallery(zip(parts, shards, strict=True), tree)))
    drift = report_drift(model_folder, folder, parts)
    write_json(
        folder / MANIFEST,
        {"survey": survey.name, "pinned": dict(plan_.pinned), "counts": asdict(counts), "entries": entries},
    )
    # The catalogue is whole by now, also where MLflow is away.
    if drift is not None:
        log_drift(drift, folder, settings, survey.name, plan_.pinned, flow_run)
    summary = PredictSummary(
        survey=survey.name,
        folder=folder,
        counts=counts,
        model=str(plan_.pinned["model"]),
        version=str(plan_.pinned["version"]),
        run_id=str(plan_.pinned["run_id"]),
        gallery=picture,
        drift=drift,
    )
    logger.info("%s: %s", survey.name, summary.sentence())
    drifts = drift is None or drift.drifts
    logger.log(logging.WARNING if drifts else logging.INFO, "%s: %s", survey.name, summary.drift_sentence())
    return summary


def _refuse_other_unfinished(folder: Path, pinned: Mapping[str, Any]) -> None:
    """Refuse to begin while a run of another model version lies there half done: two would be mixed by mistake."""
    for pin in sorted(folder.parent.glob(f"*/{PIN}")):
        if pin.parent == folder or (pin.parent / MANIFEST).exists():
            continue
        other = json.loads(pin.read_text("utf-8"))
        if other["model_uri"] != pinned["model_uri"] and any(pin.parent.glob("part-*.parquet")):
            raise PredictionError(
                "an unfinished prediction run is pinned to another model version",
                where=str(pin.parent),
                problems=[f"there: {other['model_uri']}", f"now: {pinned['model_uri']}"],
                expected="one model version a catalogue",
                fix=f"finish it with --model {other['version']}, or leave it and begin anew with --fresh",
            )


@lru_cache(maxsize=2)
def _predictor(folder: str, survey: str, precision: Precision) -> Predictor:
    """The model made ready, once a process."""
    return Predictor(Morphology.load(Path(folder)).answering(survey), precision=precision)
