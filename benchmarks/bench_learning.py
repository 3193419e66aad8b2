"""What more galaxies, dropout passes and ensembles bring, on a simulated sky whose truth is known.

Models learn from 1,000 to 16,000 galaxies, each number from several seeds. On the same test galaxies stand beside
each other: one pass without dropout, one with it, 20 passes, and an ensemble of all seeds with as many passes in all;
the constant Dirichlet; and the truth. The error of the vote fractions is given against the votes, where the truth's own
error is the floor that the volunteers' number sets, and against the truth, where the floor is 0.

Presets: `small`, an encoder and pictures for a CPU; `gpu`, EfficientNet-B0 at 128 px from five seeds. Results are kept
in the work folder: an interrupted training goes on, a finished one is scored again.
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

from gzflow.durable import write_bytes
from gzflow.evaluation.figures import figure_png, learning_curve_figure
from gzflow.evaluation.learning_curve import CurvePoint, learning_curve
from gzflow.evaluation.likelihood import mixture_nll
from gzflow.evaluation.metrics import evaluate
from gzflow.evaluation.selection import selected
from gzflow.model.ensemble import without_dropout
from gzflow.model.losses import constant_dirichlet
from gzflow.model.morphology import Morphology
from gzflow.posterior import fractions
from gzflow.prediction.predict import Predictor
from gzflow.shards.reader import ShardSet
from gzflow.simulation.survey import SimulatedSurvey
from gzflow.training.config import TrainConfig
from gzflow.training.trainer import train

PRESETS = {
    "small": {"encoder": "shufflenet_v2_x0_5", "pixels": 64, "labels": [1000, 2000, 4000], "seeds": 3, "epochs": 10},
    "gpu": {
        "encoder": "efficientnet_b0",
        "pixels": 128,
        "labels": [1000, 2000, 4000, 8000, 16_000],
        "seeds": 5,
        "epochs": 30,
    },
}
VALIDATION, TEST = 1000, 3000
PASSES = 20
FRACTION_FLOOR = 20
SURE = 1e5
"""Concentrations of a prediction that is the truth alone."""
KINDS = ("one pass, dropout off", f"{PASSES} passes", "ensemble, dropout off", f"ensemble, {PASSES} passes in all")


class Scores:
    """Predictions against the test galaxies' votes and against the truth."""

    def __init__(self, shards: ShardSet, truth: np.ndarray) -> None:
        self.votes, self.tree, self.truth = shards.votes("test"), shards.tree, truth
        self.baseline = constant_dirichlet(shards.votes("train"), self.tree)
        self.counted = selected(self.votes, self.tree, "asked", FRACTION_FLOOR)[:, self.tree.question_of_answer]

    def off_the_truth(self, concentrations: np.ndarray) -> float:
        """Mean absolute difference from the true fractions, over the galaxies and answers that `mae` counts."""
        error = np.abs(fractions(concentrations, self.tree) - self.truth)
        return float(np.mean([error[rows, i].mean() for i, rows in enumerate(self.counted.T) if rows.any()]))

    def row(self, concentrations: np.ndarray) -> list[float]:
        """NLL, coverage at 50 and 90 % averaged over questions, MAE against votes and against the truth."""
        found = evaluate(
            concentrations, self.votes, self.tree, self.baseline, fraction_floor=FRACTION_FLOOR, resamples=2
        )
        asked = [entry for entry in found.calibrations if entry.n >= 100]
        coverage = [100 * float(np.mean([entry.coverage[level] for entry in asked])) for level in (0.5, 0.9)]
        return [found.total.nll, *coverage, found.total.mae, self.off_the_truth(concentrations)]


def passes(model: Morphology, shards: ShardSet) -> tuple[np.ndarray, np.ndarray]:
    """(n, n_samples, n_answers) concentrations without dropout, and with `PASSES` samples of it.

    Without dropout one sample tells all, unless the head mixes components: then samples stand for their weights.
    """
    plain = 1 if model.spec.components == 1 else PASSES
    return predicted(without_dropout(model), shards, plain), predicted(model, shards, PASSES)


def predicted(model: Morphology, shards: ShardSet, n_samples: int) -> np.ndarray:
    predictor = Predictor(model)
    parts = [predictor.predict(reader, n_samples=n_samples) for reader in shards.readers("test")]
    return np.concatenate([part.concentrations for part in parts])


def ensembles(members: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The mixture of all members: without dropout, and `PASSES` in all dealt evenly."""
    plain = np.concatenate([one for one, _ in members], axis=1)
    dealt = np.array_split(np.arange(PASSES), len(members))
    return plain, np.concatenate([many[:, part] for (_, many), part in zip(members, dealt, strict=True)], axis=1)


def trained(shards: ShardSet, labels: int, seed: int, given: argparse.Namespace) -> Morphology:
    config = TrainConfig(
        encoder=given.encoder,
        components=given.components,
        concentrations=(0.1, given.ceiling),
        epochs=given.epochs,
        patience=given.epochs,
        lr=given.lr,
        batch_size=64,
        labels=labels,
        seed=seed,
    )
    name = f"{given.encoder}-{given.components}x{given.ceiling:g}-{given.pixels}px-{labels}x{given.epochs}-{seed}"
    result = train(shards, config, given.work / name)
    seconds = sum(epoch["seconds"] for epoch in result.history)
    best = f"best epoch {result.best_epoch + 1} of {len(result.history)}"
    print(f"{labels:,} galaxies, seed {seed}: {best}, {seconds:.0f} s", flush=True)
    return result.model


def line(name: str, rows: list[list[float]]) -> str:
    """Means over seeds, ± half of a 95 % interval of one seed's value (1.96 standard deviations), as Markdown."""
    values = np.array(rows)
    spread = 1.96 * values.std(0, ddof=1) if len(rows) > 1 else np.full(values.shape[1], np.nan)
    cells = [
        f"{mean:.{digits}f}" + (f" ± {half:.{digits}f}" if np.isfinite(half) else "")
        for mean, half, digits in zip(values.mean(0), spread, (2, 1, 1, 4, 4), strict=True)
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="small", help="what the other options are by default")
    parser.add_argument("--survey", default="decals")
    parser.add_argument("--labels", nargs="+", type=int)
    parser.add_argument("--seeds", type=int, help="models a number of labels: the members of its ensemble")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--encoder")
    parser.add_argument("--components", type=int, default=5, help="Dirichlets a question")
    parser.add_argument("--ceiling", type=float, default=1001.0, help="of the concentrations")
    parser.add_argument("--pixels", type=int)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--train", type=int, default=16_000, help="training galaxies to draw; labels are among them")
    parser.add_argument("--work", type=Path, default=Path(gettempdir()) / "gzflow-bench-learning")
    parser.add_argument("--picture", type=Path, help="of the learning curve; in the work folder by default")
    given = parser.parse_args()
    for name, value in PRESETS[given.preset].items():
        if getattr(given, name) is None:
            setattr(given, name, value)
    torch.set_num_threads(1)
    print(machine())
    print(f"{time.strftime('%d %B %Y, %H:%M')}  python {' '.join(sys.argv)}", flush=True)
    counts = {"train": given.train, "validation": VALIDATION, "test": TEST}
    folder = given.work / f"{given.survey}-{given.train}-{given.pixels}px"
    shards = simulated_set(given.survey, counts, folder, pixels=given.pixels, seed=42)
    sky = SimulatedSurvey.draw(given.survey, sum(counts.values()), 42, pixels=given.pixels)
    np.testing.assert_array_equal(shards.votes("test"), sky.votes.counts[-TEST:])
    truth = sky.votes.truth[-TEST:]
    scores = Scores(shards, truth)
    points, lines = [], []
    for labels in given.labels:
        members = []
        for seed in range(1, given.seeds + 1):
            members.append(passes(trained(shards, labels, seed, given), shards))
            points.append(
                CurvePoint("scratch", labels, seed, mixture_nll(scores.votes, members[-1][1], scores.tree).sum(1))
            )
        kinds = [[plain for plain, _ in members], [many for _, many in members]]
        if given.seeds > 1:
            kinds += [[mixture] for mixture in ensembles(members)]
        for name, found in zip(KINDS, kinds, strict=False):
            lines.append(line(f"{labels:,}: {name}", [scores.row(concentrations) for concentrations in found]))
            print(lines[-1], flush=True)
    constant = np.broadcast_to(scores.baseline, (TEST, 1, len(scores.baseline)))
    lines += [
        line("constant Dirichlet", [scores.row(constant)]),
        line("the truth: the floor", [scores.row(SURE * truth[:, None])]),
    ]
    print(
        f"\n{given.seeds} seeds, {TEST:,} test galaxies, {given.encoder} at {given.pixels} px, {given.epochs} epochs\n"
    )
    print("| galaxies: prediction | NLL | 50 % holds | 90 % holds | MAE against votes | MAE against the truth |")
    print("|---" * 6 + "|", *lines, sep="\n")
    curve = learning_curve(points, constant=scores.row(constant)[0])
    picture = given.picture or given.work / "learning-curve.png"
    write_bytes(picture, figure_png(learning_curve_figure(curve, title=f"Simulated {given.survey}, {PASSES} passes")))
    print(f"\n{picture}")


if __name__ == "__main__":
    main()
