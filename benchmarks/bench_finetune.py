"""What a parent is worth in labels: fine-tuned from a DECaLS-like survey against from scratch, on the simulated sky.

A parent learns from many DECaLS-like galaxies. Hubble-like and CANDELS-like galaxies are then learnt by two rivals:
one starts from the parent's encoder, the other from random weights. Both get the same labels, epochs and validation
galaxies, and the best of their epochs is scored on the same test galaxies, 20 head samples each, beside the constant
Dirichlet. In nats a galaxy: lower is better.

Results are kept in the work folder: an interrupted run goes on, a finished one is shown again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
import torch
from galaxies import simulated_set
from timing import machine

from gzflow.durable import write_bytes, write_json
from gzflow.evaluation.figures import figure_png, learning_curve_figure
from gzflow.evaluation.learning_curve import CurvePoint, LearningCurve, Level, learning_curve
from gzflow.evaluation.likelihood import log_likelihood, mixture_nll
from gzflow.model.head import galaxy_keys
from gzflow.model.losses import constant_dirichlet
from gzflow.model.morphology import Morphology
from gzflow.shards.reader import ShardSet
from gzflow.training.config import FineTuneConfig, TrainConfig
from gzflow.training.trainer import train

ENCODER = "shufflenet_v2_x0_5"
"""Small enough for a CPU, and well above the constant at 64 pixels."""
SAMPLES = 20


def test_nll(model: Morphology, shards: ShardSet) -> np.ndarray:
    """(n,) negative log-likelihoods of the test galaxies."""
    keys = torch.from_numpy(galaxy_keys(shards.ids("test")).copy())
    images = np.concatenate([reader.images(slice(None)) for reader in shards.readers("test")])
    with torch.inference_mode():
        found = [
            model.concentrations(images[i : i + 200], SAMPLES, keys=keys[i : i + 200]) for i in range(0, len(keys), 200)
        ]
    return mixture_nll(shards.votes("test"), torch.cat(found).double().numpy(), shards.tree).sum(1)


def constant_nll(shards: ShardSet) -> float:
    """Mean of the same for the constant Dirichlet of all training votes."""
    constant = constant_dirichlet(shards.votes("train"), shards.tree)
    return float(-log_likelihood(shards.votes("test"), constant, shards.tree).sum(1).mean())


def scored(shards: ShardSet, config: TrainConfig, folder: Path, parent: Path | None = None) -> dict[str, Any]:
    """Train, score, and keep the scores; or the scores that were kept."""
    path = folder / "result.json"
    # A finished run is read back; one of another configuration is refused.
    result = train(shards, config, folder, parent=parent)
    if path.is_file():
        return dict(json.loads(path.read_text()))
    seconds = sum(epoch["seconds"] for epoch in result.history)
    scores = {
        "nll": test_nll(result.model, shards).tolist(),
        "best_epoch": result.best_epoch + 1,
        "epochs": len(result.history),
        "seconds": seconds,
    }
    write_json(path, scores)
    print(
        f"{folder.name:<28} test NLL {np.mean(scores['nll']):.2f}  best epoch {scores['best_epoch']} of"
        f" {scores['epochs']}  {seconds:.0f} s",
        flush=True,
    )
    return scores


def points_of(shards: ShardSet, parent: Path, given: argparse.Namespace) -> list[CurvePoint]:
    """Both rivals at every number of labels, seed by seed."""
    points = []
    for seed in range(1, given.seeds + 1):
        for labels, epochs in zip(given.labels, given.epochs, strict=True):
            # The same budget for both. Neither is stopped early: the best epoch is kept, and the rate falls to its end.
            budget = {"labels": labels, "epochs": epochs, "patience": epochs, "batch_size": 32, "seed": seed}
            budget["lr"] = given.lr
            rivals: tuple[tuple[Any, TrainConfig, Path | None], ...] = (
                ("scratch", TrainConfig(encoder=ENCODER, **budget), None),
                ("finetuned", FineTuneConfig(**budget), parent),
            )
            for kind, config, start in rivals:
                folder = given.work / f"{shards.survey}-{kind}-{labels}x{epochs}-{seed}"
                nll = np.array(scored(shards, config, folder, start)["nll"])
                points.append(CurvePoint(kind, labels, seed, nll))
    return points


def table(curve: LearningCurve) -> str:
    """Means with their intervals, and what is saved, as Markdown."""
    lines = ["| labels | from scratch | fine-tuned | labels saved for the NLL from scratch |", "|---|---|---|---|"]
    for scratch, tuned, saved in zip(curve.scratch, curve.finetuned, curve.saved, strict=True):
        lines.append(f"| {scratch.labels:,} | {_mean(scratch)} | {_mean(tuned)} | {saved} |")
    return "\n".join(lines)


def _mean(level: Level) -> str:
    return f"{level.mean:.2f}" + (f" ± {level.upper - level.mean:.2f}" if len(level.values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--surveys", nargs="+", default=["hubble", "candels"], choices=["hubble", "candels"])
    parser.add_argument("--labels", nargs="+", type=int, default=[50, 200, 800, 1600], help="the last one is all")
    parser.add_argument("--epochs", nargs="+", type=int, default=[30, 30, 20, 16], help="one a number of labels")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--lr", type=float, default=3e-3, help="of both rivals")
    parser.add_argument("--parent-galaxies", type=int, default=10_000)
    parser.add_argument("--parent-epochs", type=int, default=14)
    parser.add_argument("--validation", type=int, default=200)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--work", type=Path, default=Path(gettempdir()) / "gzflow-bench-finetune")
    parser.add_argument("--pictures", type=Path, help="folder for the learning curves; the work folder by default")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    print(f"{time.strftime('%d %B %Y, %H:%M')}  python {' '.join(sys.argv)}", flush=True)
    counts = {"train": given.parent_galaxies, "validation": 400, "test": 400}
    first = simulated_set("decals", counts, given.work / "shards-decals", seed=11)
    config = TrainConfig(encoder=ENCODER, epochs=given.parent_epochs, lr=given.lr, batch_size=64, seed=1)
    parent = given.work / "parent"
    nll = np.mean(scored(first, config, parent)["nll"])
    print(f"parent on {first.n('train'):,} DECaLS-like galaxies: {nll:.2f}, constant {constant_nll(first):.2f}\n")
    for number, survey in enumerate(given.surveys, start=12):
        counts = {"train": max(given.labels), "validation": given.validation, "test": given.test}
        shards = simulated_set(survey, counts, given.work / f"shards-{survey}", seed=number)
        curve = learning_curve(points_of(shards, parent / "model", given), constant=constant_nll(shards))
        title = f"Simulated {survey}: fine-tuned from DECaLS against from scratch"
        picture = (given.pictures or given.work) / f"fine-tuning-{survey}.png"
        write_bytes(picture, figure_png(learning_curve_figure(curve, title=title)))
        print(f"\n{survey}, constant Dirichlet {curve.constant:.2f}\n\n{table(curve)}\n\n{picture}\n", flush=True)


if __name__ == "__main__":
    main()
