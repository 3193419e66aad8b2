"""What Walmsley et al. 2020 and 2021 and the project that gzflow grew from reported, measured on simulated skies.

- W+20 (MNRAS 491, 1554): one question of Galaxy Zoo 2, "smooth or not", by the `w20` preset, 15 dropout passes, on
  galaxies with more than 36 votes. Reported: how often counts lie within 0.2 of the expected vote fraction, beside how
  often they should (its coverage error), for all passes and for one. The rival is the constant fraction.
- W+21 (MNRAS 509, 3966): the whole GZ DECaLS tree by the `w21` preset. Reported: accuracy by question over all galaxies
  that half of the volunteers were asked about and over confident ones, as W+21 count them, beside the majority answer
  and beside the same network with gzflow's own defaults.
- The project: its two confusion matrices, of "smooth or featured" and "merging", over all test galaxies as it counted
  them, and over those with votes enough.

Results are kept in the work folder: an interrupted training goes on, a finished one is scored again.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import torch
from galaxies import simulated_set
from timing import machine

from gzflow import DecisionTree
from gzflow.evaluation.confusion import confusion_matrices
from gzflow.evaluation.metrics import Evaluation, evaluate
from gzflow.model.losses import constant_dirichlet
from gzflow.posterior import fractions
from gzflow.prediction.predict import Predictor
from gzflow.shards.header import MANIFEST, SPLITS, ShardHeader
from gzflow.shards.reader import ShardSet
from gzflow.shards.writer import begin_set, write_manifest, write_shard
from gzflow.training.config import TrainConfig
from gzflow.training.presets import configured
from gzflow.training.trainer import train

MORE_THAN = 36
"""Votes on the first question, as W+20 select."""
SMOOTH = DecisionTree.from_dict([{"name": "smooth", "answers": ["yes", "no"], "asked_after": []}])


def smooth_or_not(whole: ShardSet, folder: Path) -> ShardSet:
    """The galaxies with more than `MORE_THAN` votes, with one question of two answers."""
    if (folder / MANIFEST).is_file():
        return ShardSet.open(folder)
    begin_set(folder)
    entries = []
    for split in SPLITS:
        for number, reader in enumerate(whole.readers(split)):
            first = reader.votes[:, whole.tree.slices[0]]
            rows = np.flatnonzero(first.sum(axis=1) > MORE_THAN)
            votes = np.stack([first[rows, 0], first[rows, 1:].sum(axis=1)], axis=1)
            header = ShardHeader(survey="gz2", tree=SMOOTH.to_dict(), recipe=whole.recipe, split=split)
            entries.append(
                write_shard(
                    folder / f"{split}-{number:05d}.h5",
                    header,
                    images=reader.images(rows),
                    votes=votes.astype(np.int32),
                    ids=[reader.ids[row] for row in rows],
                    ra=reader.ra[rows],
                    dec=reader.dec[rows],
                    pixscale=reader.pixscale[rows],
                )
            )
    write_manifest(folder, header, entries)
    return ShardSet.open(folder)


def predictions(
    shards: ShardSet, preset: str | None, folder: Path, given: argparse.Namespace, samples: int
) -> np.ndarray:
    """(n, n_samples, n_answers) concentrations of the test galaxies by the preset's model, or the defaults'."""
    config = configured(
        TrainConfig, preset=preset, given={"epochs": given.epochs, "batch_size": given.batch, "seed": given.seed}
    )
    result = train(shards, config, folder)
    seconds = sum(epoch["seconds"] for epoch in result.history)
    print(
        f"{preset or 'defaults'}: {shards.n('train'):,} training galaxies of {shards.recipe.pixels} px, best epoch"
        f" {result.best_epoch + 1} of {len(result.history)}, {seconds:.0f} s",
        flush=True,
    )
    predictor = Predictor(result.model)
    parts = [predictor.predict(reader, n_samples=samples, seed=given.seed) for reader in shards.readers("test")]
    return np.concatenate([part.concentrations for part in parts])


def w20(given: argparse.Namespace) -> str:
    """W+20's coverage within 0.2 of the vote fraction."""
    shards = smooth_or_not(sky("gz2", given), given.work / f"smooth-{given.galaxies}-{given.seed}")
    name = f"w20-{given.galaxies}x{given.epochs}-{given.seed}"
    model = predictions(shards, "w20", given.work / name, given, samples=15)
    votes, baseline = shards.votes("test"), constant_dirichlet(shards.votes("train"), SMOOTH)
    rivals = {
        "15 passes": model,
        "one pass": model[:, :1],
        "constant fraction": np.broadcast_to(baseline / baseline.sum() * 1e4, (len(votes), 1, 2)),
    }
    lines = [
        f"\n{len(votes):,} test galaxies",
        "| | within 0.2 | should be | coverage error | RMSE of the fraction | NLL |",
        "|---" * 6 + "|",
    ]
    for rival, concentrations in rivals.items():
        found = evaluate(concentrations, votes, SMOOTH, baseline, resamples=200, seed=given.seed)
        discrete, score = found.calibrations[0].discrete, found.over("half-asked")[0]
        observed, expected = discrete.observed_in_deviation, discrete.expected_in_deviation
        lines.append(
            f"| {rival} | {observed:.1%} | {expected:.1%} | {abs(observed - expected):.1%} | {score.rmse:.4f} |"
            f" {score.nll:.3f} |"
        )
    return "\n".join(lines)


def w21(given: argparse.Namespace, preset: str | None) -> str:
    """W+21's accuracies and the project's two confusion matrices, by one model."""
    shards = sky("decals", given)
    name = f"{preset or 'defaults'}-{given.galaxies}x{given.epochs}-{given.seed}"
    model = predictions(shards, preset, given.work / name, given, samples=20)
    votes, baseline = shards.votes("test"), constant_dirichlet(shards.votes("train"), shards.tree)
    found = evaluate(model, votes, shards.tree, baseline, resamples=200, seed=given.seed)
    total = found.total
    scores = (
        f"NLL {total.nll:.2f} (constant Dirichlet {total.nll_constant:.2f}), 90 % intervals hold {total.coverage:.1%}"
    )
    return f"{scores}\n\n{accuracy_table(found)}\n\n{seed_tables(model, votes, shards.tree)}"


def accuracy_table(found: Evaluation) -> str:
    """Accuracy by question, all and confident, beside the majority answer."""
    lines = [
        "| question | n | accuracy | majority answer | n confident | accuracy | majority answer |",
        "|---" * 7 + "|",
    ]
    for every, sure in zip(found.over("half-asked"), found.over("confident"), strict=True):
        lines.append(
            f"| {every.question} | {every.n:,} | {every.accuracy:.1%} | {every.majority_accuracy:.1%} |"
            f" {sure.n:,} | {sure.accuracy:.1%} | {sure.majority_accuracy:.1%} |"
        )
    return "\n".join(lines)


def seed_tables(concentrations: np.ndarray, votes: np.ndarray, tree: DecisionTree) -> str:
    """Agreement on two questions that all are asked: without a floor of votes, and with one."""
    predicted = fractions(concentrations, tree)
    lines = ["| question | votes | n | agreement | constant answer | macro F1 |", "|---" * 6 + "|"]
    for floor in (1, 20):
        for matrix in confusion_matrices(predicted, votes, tree, selection="asked", floor=floor):
            if matrix.question in {"smooth-or-featured", "merging"}:
                lines.append(
                    f"| {matrix.question} | {floor} or more | {matrix.n:,} | {matrix.accuracy:.1%} |"
                    f" {matrix.majority_accuracy:.1%} (“{matrix.majority_answer}”) | {matrix.macro_f1:.2f} |"
                )
    return "\n".join(lines)


def sky(name: str, given: argparse.Namespace) -> ShardSet:
    """The simulated survey: 70 % to learn from, 10 % validation, 20 % test."""
    validation, test = given.galaxies // 10, given.galaxies // 5
    counts = {"train": given.galaxies - validation - test, "validation": validation, "test": test}
    folder = given.work / f"{name}-{given.galaxies}-{given.pixels}px-{given.seed}"
    return simulated_set(name, counts, folder, pixels=given.pixels, seed=given.seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--galaxies", type=int, default=6000, help="of each survey")
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30, help="at most; the presets' patience ends them sooner")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--only", choices=["w20", "w21", "defaults"])
    parser.add_argument("--work", type=Path, default=Path(gettempdir()) / "gzflow-bench-reproduction")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    print(f"{time.strftime('%d %B %Y, %H:%M')}  python {' '.join(sys.argv)}", flush=True)
    if given.only in {None, "w20"}:
        print(w20(given), flush=True)
    for preset in ("w21", None):
        if given.only in {None, preset or "defaults"}:
            print(w21(given, preset), flush=True)


if __name__ == "__main__":
    main()
