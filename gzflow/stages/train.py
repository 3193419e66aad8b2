"""Train: fit a model to a shard set, score it on test galaxies, log the run and register the model."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from gzflow.durable import replacing, write_json
from gzflow.errors import TrackingError, TrainingError
from gzflow.evaluation.figures import confusion_figure, figure_png, reliability, training_curves
from gzflow.evaluation.metrics import Evaluation, evaluate
from gzflow.model.losses import constant_dirichlet
from gzflow.model.morphology import read_spec
from gzflow.posterior import fractions
from gzflow.prediction.predict import Predictor
from gzflow.settings import Settings
from gzflow.shards.reader import ShardSet
from gzflow.sky import crossmatch
from gzflow.stages.shard_sets import find_shards
from gzflow.surveys import Survey, load_survey
from gzflow.tracking.names import metric_key
from gzflow.tracking.registry import ModelRef, Registry
from gzflow.tracking.run import Lineage, TrackedRun, run_exists
from gzflow.training.config import TrainConfig
from gzflow.training.launch import launch
from gzflow.training.metrics import EpochMetrics
from gzflow.training.trainer import TrainResult

logger = logging.getLogger(__name__)

RESULT = "result.json"
RUN = "mlflow-run.json"
TEST = "test.npz"
GALAXIES = "galaxies.parquet"
LEAK_ARCSEC = 2.0
"""A test galaxy this close to one that was trained on is left out of the scores."""
SAMPLES = 20


@dataclass(frozen=True)
class TrainChunk:
    """One training run; its folder is named by what decides the result, so that the same run is found again."""

    survey: str
    shards: str
    folder: str
    config: TrainConfig
    n_galaxies: Mapping[str, int]


@dataclass(frozen=True)
class TrainSummary:
    """A trained, scored and registered model.

    Attributes
    ----------
    folder
        The run's: ``model/``, ``training.json``, ``result.json``, and ``test.npz`` with the test galaxies'
        concentrations and votes.
    alias
        ``champion`` or ``challenger``.
    n_test, n_leaked, n_overlapping
        Test galaxies scored; left out because a training galaxy lies within `LEAK_ARCSEC`; scored although their
        stamp overlaps one that the model has seen.
    loss, constant, majority
        Test NLL in nats a galaxy of the model, of the constant Dirichlet and of the majority answer; NaN without a
        test galaxy that has votes.
    url
        The MLflow run's page, where a server shows one.
    """

    survey: str
    folder: Path
    model: str
    version: str
    alias: str
    run_id: str
    url: str | None
    best_epoch: int
    n_epochs: int
    n_test: int
    n_leaked: int
    n_overlapping: int
    loss: float
    constant: float
    majority: float
    reused: bool = False

    def sentence(self) -> str:
        """One line for people, with the baselines."""
        scores = (
            f"test NLL {self.loss:.3f} (constant Dirichlet {self.constant:.3f}, majority answer {self.majority:.3f};"
            f" {self.n_test:,} galaxies)"
            if self.n_test
            else "no test galaxy has votes, so it has no score"
        )
        return f"{self.model} version {self.version} ({self.alias}): {scores}"


def plan(survey_name: str, settings: Settings, *, pixels: int | None, config: TrainConfig) -> TrainChunk:
    """The one run there is to do, after opening its shards.

    Raises
    ------
    ShardError
        No finished shard set, or several and none named.
    """
    survey = load_survey(survey_name)
    shards = find_shards(survey.name, pixels, settings)
    resolved = config.resolve(shards.n("train"), shards.recipe)
    folder = settings.training(survey.name) / f"{shards.fingerprint[:8]}-{resolved.fingerprint[:8]}"
    sizes = {split: shards.n(split) for split in ("train", "validation", "test")}
    return TrainChunk(survey_name, str(shards.folder), str(folder), config, sizes)


def run_chunk(
    chunk: TrainChunk,
    settings: Settings,
    *,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    stop: Callable[[], bool] | None = None,
    flow_run: tuple[str, str] | None = None,
) -> TrainSummary:
    """Train, or go on with the run that was interrupted, or return the one that was finished.

    Parameters
    ----------
    on_epoch
        Called after each epoch, after its metrics were logged.
    stop
        Asked before each batch; once it says True, training ends with the last finished epoch.
    flow_run
        Id and page of the orchestrator's run, for the tags.
    """
    folder, survey, shards = Path(chunk.folder), load_survey(chunk.survey), ShardSet.open(Path(chunk.shards))
    if (known := _finished(folder, settings)) is not None:
        logger.info("%s: this model was trained before: %s", survey.name, known.sentence())
        return known
    lineage = Lineage(
        tree_fingerprint=shards.tree.fingerprint,
        shard_fingerprint=shards.fingerprint,
        flow_run_id=flow_run[0] if flow_run else None,
        flow_run_url=flow_run[1] if flow_run else None,
    )
    with TrackedRun(settings, survey.name, name=folder.name, lineage=lineage, run_id=_run_id(folder, settings)) as run:
        write_json(folder / RUN, {"run_id": run.id, "tracking_uri": _place(settings)})
        _describe(run, chunk, shards)

        def after_epoch(epoch: EpochMetrics) -> None:
            run.log_metrics(epoch.flat(), step=epoch.epoch)
            logger.info(
                "%s: epoch %d: train %.3f, validation %.3f%s, %.0f s",
                survey.name,
                epoch.epoch + 1,
                epoch.train_loss,
                epoch.validation_loss,
                " (best)" if epoch.best else "",
                epoch.seconds,
            )
            if on_epoch is not None:
                on_epoch(epoch)

        result = launch(shards, chunk.config, folder, on_epoch=after_epoch, stop=stop)
        if not result.finished:
            raise TrainingError(
                f"training was stopped after {len(result.history)} epochs",
                where=str(folder),
                fix="run the same command again: it goes on from there",
            )
        logger.info(
            "%s: best epoch %d of %d; the constant Dirichlet scores %.3f on the same validation galaxies",
            survey.name,
            result.best_epoch + 1,
            len(result.history),
            result.baseline["loss"],
        )
        near = _near_training(shards)
        leaked = set(near.filter(pl.col("separation_arcsec") <= LEAK_ARCSEC)["left_id"])
        n_overlapping = near["left_id"].n_unique() - len(leaked)
        evaluation = _evaluate(result, shards, folder, leaked)
        _log_result(run, result, evaluation, shards)
        run.log_metrics({"test/leaked": len(leaked), "test/overlapping-stamps": n_overlapping})
        _write_galaxies(shards, folder)
        run.log_file(folder / GALAXIES)
        ref = Registry(settings).register(result.folder, run)
        summary = _summary(survey, folder, result, evaluation, (len(leaked), n_overlapping), ref, run, settings)
    write_json(folder / RESULT, asdict(summary))
    logger.info("%s", summary.sentence())
    return summary


def load_evaluation(folder: Path) -> tuple[Evaluation | None, list[str], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Scores of a finished run with the test galaxies behind them: ids, (n, samples, answers), (n, answers) votes."""
    tree = read_spec(folder / "model").tree
    with np.load(folder / TEST, allow_pickle=False) as stored:
        ids, concentrations, votes, baseline = (stored[name] for name in ("ids", "concentrations", "votes", "baseline"))
    scored = None
    if len(ids) and votes.any():
        # A user's own labels are one vote a galaxy: floors meant for volunteers would leave nothing to score.
        most = np.max([votes[:, part].sum(1) for part in tree.slices], axis=0)
        typical = max(1, int(np.median(most[most > 0])))
        scored = evaluate(
            concentrations, votes, tree, baseline, floor=min(10, typical), fraction_floor=min(20, typical)
        )
    return scored, ids.tolist(), concentrations, votes


def curves(history: Sequence[Mapping[str, Any]], baseline: Mapping[str, float], best_epoch: int) -> Figure:
    """The training curves of a run, from the trainer's history and its constant baseline."""
    points = [
        {"epoch": epoch["epoch"], "train/loss": epoch["train_loss"], "val/loss": epoch["validation_loss"]}
        for epoch in history
    ]
    return training_curves(points, baseline=baseline["loss"], best_epoch=best_epoch)


def _finished(folder: Path, settings: Settings) -> TrainSummary | None:
    """The run's summary if it was finished and its model is still registered."""
    if not (folder / RESULT).is_file():
        return None
    stored = json.loads((folder / RESULT).read_text("utf-8"))
    summary = TrainSummary(**stored | {"folder": Path(stored["folder"]), "reused": True})
    try:
        Registry(settings).resolve(f"models:/{summary.model}/{summary.version}")
    except TrackingError:
        return None
    return summary


def _run_id(folder: Path, settings: Settings) -> str | None:
    """The MLflow run that an interrupted training had begun in the same store."""
    path = folder / RUN
    if not path.is_file():
        return None
    stored = json.loads(path.read_text("utf-8"))
    if stored["tracking_uri"] != _place(settings) or not run_exists(settings, stored["run_id"]):
        return None  # another store, or one that was emptied: the training goes on under a new run
    return str(stored["run_id"])


def _place(settings: Settings) -> str:
    return settings.tracking_uri.rsplit("@", 1)[-1]  # without user and password


def _describe(run: TrackedRun, chunk: TrainChunk, shards: ShardSet) -> None:
    resolved = chunk.config.resolve(shards.n("train"), shards.recipe)
    run.log_params(
        resolved.model_dump(mode="json")
        | {"recipe": shards.recipe.model_dump(mode="json")}
        | {f"galaxies.{split}": n for split, n in chunk.n_galaxies.items()}
    )
    for split in ("train", "validation", "test"):
        run.log_dataset(
            f"{shards.survey}-{shards.recipe.pixels}px-{split}",
            shards.fingerprint,
            str(shards.folder),
            context=split,
            profile={"galaxies": chunk.n_galaxies[split]},
        )


def _evaluate(result: TrainResult, shards: ShardSet, folder: Path, leaked: set[str]) -> Evaluation | None:
    """Scores on the test galaxies but the leaked ones; their samples are kept for reports."""
    predictor = Predictor(result.model)
    parts = [predictor.predict(reader, n_samples=SAMPLES, seed=result.config.seed) for reader in shards.readers("test")]
    n_answers = len(shards.tree.answers)
    ids = [id_str for part in parts for id_str in part.ids]
    concentrations = np.concatenate(
        [np.zeros((0, SAMPLES, n_answers), np.float32), *(part.concentrations for part in parts)]
    )
    keep = np.array([id_str not in leaked for id_str in ids], dtype=bool)
    votes, baseline = shards.votes("test"), constant_dirichlet(shards.votes("train"), shards.tree)
    with replacing(folder / TEST) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            ids=np.array(ids, dtype=str)[keep],
            concentrations=concentrations[keep],
            votes=votes[keep],
            baseline=baseline,
        )
    evaluation, *_ = load_evaluation(folder)
    return evaluation


def _near_training(shards: ShardSet) -> pl.DataFrame:
    """Pairs of a test galaxy and one that the model has seen, the same object or with stamps that overlap."""
    test, seen = _positions(shards, ("test",)), _positions(shards, ("train", "validation"))
    widest = max([LEAK_ARCSEC, *test["stamp"].drop_nans(), *seen["stamp"].drop_nans()])
    pairs = crossmatch(test.select("id_str", "ra", "dec"), seen.select("id_str", "ra", "dec"), widest, "all")
    stamps = [frame.select("id_str", pl.col("stamp").fill_nan(0.0)) for frame in (test, seen)]
    pairs = pairs.join(stamps[0], left_on="left_id", right_on="id_str")
    pairs = pairs.join(stamps[1], left_on="right_id", right_on="id_str", suffix="_seen")
    touching = (pl.col("stamp") + pl.col("stamp_seen")) / 2
    return pairs.filter(pl.col("separation_arcsec") <= pl.max_horizontal(touching, pl.lit(LEAK_ARCSEC)))


def _positions(shards: ShardSet, splits: tuple[str, ...]) -> pl.DataFrame:
    readers = [reader for split in splits for reader in shards.readers(split)]  # type: ignore[arg-type]
    return pl.DataFrame(
        {
            "id_str": [id_str for reader in readers for id_str in reader.ids],
            "ra": np.concatenate([np.zeros(0), *(reader.ra for reader in readers)]),
            "dec": np.concatenate([np.zeros(0), *(reader.dec for reader in readers)]),
            # Side of the field of view, arcsec.
            "stamp": np.concatenate([np.zeros(0), *(reader.pixscale * shards.recipe.pixels for reader in readers)]),
        },
        schema={"id_str": pl.String, "ra": pl.Float64, "dec": pl.Float64, "stamp": pl.Float64},
    )


def _write_galaxies(shards: ShardSet, folder: Path) -> None:
    """Which galaxies the model has seen: a later fine-tune keeps its test galaxies away from them."""
    table = pa.concat_tables(
        pa.table({"id_str": reader.ids, "ra": reader.ra, "dec": reader.dec, "split": [split] * len(reader)})
        for split in ("train", "validation")
        for reader in shards.readers(split)
    )
    with replacing(folder / GALAXIES) as temporary:
        pq.write_table(table, temporary)


def _log_result(run: TrackedRun, result: TrainResult, evaluation: Evaluation | None, shards: ShardSet) -> None:
    run.log_bytes("figures/training-curves.png", figure_png(curves(result.history, result.baseline, result.best_epoch)))
    best = min(result.history, key=lambda epoch: epoch["validation_loss"])
    run.log_metrics(
        {"best/epoch": result.best_epoch, "best/val-loss": best["validation_loss"]}
        | {metric_key(f"baseline/val-{name}"): value for name, value in result.baseline.items()},
        step=result.best_epoch,
    )
    run.log_json("history.json", result.history)
    if evaluation is None:
        return
    run.log_metrics(evaluation.metrics(), step=result.best_epoch)
    for matrix in evaluation.confusions:
        if matrix.n:
            run.log_bytes(f"figures/confusion/{matrix.question}.png", figure_png(confusion_figure(matrix)))
    with np.load(result.folder.parent / TEST, allow_pickle=False) as stored:
        means = fractions(stored["concentrations"], shards.tree)
        run.log_bytes("figures/reliability.png", figure_png(reliability(means, stored["votes"], shards.tree)))


def _summary(
    survey: Survey,
    folder: Path,
    result: TrainResult,
    evaluation: Evaluation | None,
    near: tuple[int, int],
    ref: ModelRef,
    run: TrackedRun,
    settings: Settings,
) -> TrainSummary:
    champion = Registry(settings).alias(survey.name, "champion")
    total = evaluation.total if evaluation else None
    return TrainSummary(
        survey=survey.name,
        folder=folder,
        model=ref.name,
        version=str(ref.version),
        alias="champion" if champion == ref.version else "challenger",
        run_id=run.id,
        url=run.url,
        best_epoch=result.best_epoch,
        n_epochs=len(result.history),
        n_test=total.n if total else 0,
        n_leaked=near[0],
        n_overlapping=near[1],
        loss=total.nll if total else float("nan"),
        constant=total.nll_constant if total else float("nan"),
        majority=total.nll_majority if total else float("nan"),
    )
