"""A trained model's scores on test galaxies, and what is kept of them, galaxy by galaxy."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gzflow.durable import replacing
from gzflow.evaluation.metrics import Evaluation, evaluate
from gzflow.evaluation.selection import question_totals, usual_floor
from gzflow.evaluation.slices import GalaxyScores
from gzflow.model.losses import constant_dirichlet
from gzflow.model.morphology import read_spec
from gzflow.prediction.predict import Predictor
from gzflow.shards.reader import ShardSet
from gzflow.training.result import TrainResult
from gzflow.tree import DecisionTree

TEST = "test.npz"
"""Ids, votes and sampled concentrations of the test galaxies, and the constant Dirichlet of the training votes."""
SCORES = "scores.parquet"
"""One row a test galaxy: ``id_str``, ``votes`` (how many), ``nll`` and ``nll_constant`` (nats, all questions), and for
each question ``{question}_nll`` and ``{question}_votes``, 0 where nobody was asked, and ``{question}_agrees``,
``{question}_error`` and ``{question}_inside`` (see `gzflow.evaluation.slices.GalaxyScores`), null there."""
BY_QUESTION = ("agrees", "error", "inside")
SAMPLES = 20


def score_test(result: TrainResult, shards: ShardSet, folder: Path, left_out: Collection[str]) -> Evaluation | None:
    """Scores on the test galaxies but those `left_out`; `TEST` and `SCORES` are written on the way."""
    predictor, samples = Predictor(result.model), result.model.spec.samples
    parts = [predictor.predict(reader, n_samples=samples, seed=result.config.seed) for reader in shards.readers("test")]
    ids = [id_str for part in parts for id_str in part.ids]
    keep = np.array([id_str not in left_out for id_str in ids], dtype=bool)
    nothing = np.zeros((0, samples, len(shards.tree.answers)), np.float32)
    stored = {
        "ids": np.array(ids, dtype=str)[keep],
        "concentrations": np.concatenate([nothing, *(part.concentrations for part in parts)])[keep],
        "votes": shards.votes("test")[keep],
        "baseline": constant_dirichlet(shards.votes("train"), shards.tree),
    }
    with replacing(folder / TEST) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **stored)
    with replacing(folder / SCORES) as temporary:
        galaxy_scores(**stored, tree=shards.tree).write_parquet(temporary)
    evaluation, *_ = load_evaluation(folder)
    return evaluation


def galaxy_scores(
    ids: NDArray[Any],
    concentrations: NDArray[Any],
    votes: NDArray[Any],
    baseline: NDArray[Any],
    tree: DecisionTree,
) -> pl.DataFrame:
    """The table that `SCORES` holds, of (n,) ids, (n, samples, answers) concentrations and (n, answers) votes."""
    scores = GalaxyScores.of(concentrations, votes, tree, baseline, floor=1)
    columns: dict[str, Any] = {
        "id_str": ids.tolist(),
        "votes": votes.sum(axis=1),
        "nll": scores.nll.sum(axis=1),
        "nll_constant": scores.nll_constant.sum(axis=1),
    }
    for q, (question, part) in enumerate(zip(tree.questions, tree.slices, strict=True)):
        columns |= {f"{question.name}_nll": scores.nll[:, q], f"{question.name}_votes": votes[:, part].sum(axis=1)}
        for name in BY_QUESTION:
            values = np.where(scores.counted[:, q], getattr(scores, name)[:, q], np.nan)
            columns[f"{question.name}_{name}"] = pl.Series(values).fill_nan(None)
    return pl.DataFrame(columns, schema_overrides={"id_str": pl.String})


def load_evaluation(folder: Path) -> tuple[Evaluation | None, list[str], NDArray[Any], NDArray[Any]]:
    """Scores of a finished run with the test galaxies behind them: ids, (n, samples, answers), (n, answers) votes."""
    tree = read_spec(folder / "model").tree
    with np.load(folder / TEST, allow_pickle=False) as stored:
        ids, concentrations, votes, baseline = (stored[name] for name in ("ids", "concentrations", "votes", "baseline"))
    scored = None
    if len(ids) and votes.any():
        totals = question_totals(votes, tree)
        floors = {"floor": usual_floor(totals, 10), "fraction_floor": usual_floor(totals, 20)}
        scored = evaluate(concentrations, votes, tree, baseline, **floors)
    return scored, ids.tolist(), concentrations, votes
