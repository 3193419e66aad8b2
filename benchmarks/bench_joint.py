"""What surveys gain when one encoder learns them together, on the simulated sky.

GZ2-, DECaLS- and Hubble-like galaxies are learnt twice: each survey by a network of its own, and all three by one
encoder with a head a tree. Every galaxy is looked at equally often by both. Then CANDELS-like galaxies are learnt with
a thousand labels: from random weights, from the DECaLS-like model, and from the joint one. Test NLL in nats a galaxy
with 20 head samples, beside the constant Dirichlet; gains with 95 % paired bootstrap intervals over the test galaxies.

Results are kept in the work folder: an interrupted run goes on, a finished one is shown again.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import torch
from bench_finetune import ENCODER, constant_nll, test_nll
from galaxies import simulated_set
from timing import machine

from gzflow.evaluation.bootstrap import Interval, bootstrap_means
from gzflow.shards.joint import JointSet
from gzflow.shards.reader import ShardSet
from gzflow.training.config import FineTuneConfig, TrainConfig
from gzflow.training.result import TrainResult
from gzflow.training.trainer import train

SURVEYS = ("gz2", "decals", "hubble")
NEW = "candels"


def trained(name: str, shards: ShardSet, config: TrainConfig, work: Path, parent: Path | None = None) -> TrainResult:
    """The model of a run in the work folder, and a line about it."""
    result = train(shards, config, work / name, parent=parent)
    seconds = sum(epoch["seconds"] for epoch in result.history)
    print(f"{name}: best epoch {result.best_epoch + 1} of {len(result.history)}, {seconds:.0f} s", flush=True)
    return result


def gain(rival: np.ndarray, ours: np.ndarray) -> Interval:
    """How much lower our NLL is."""
    return bootstrap_means((rival - ours)[:, None], np.ones((len(ours), 1), bool))[0]


def words(found: Interval) -> str:
    """A gain with its interval."""
    return f"{found.mean:+.2f} ({found.lower:+.2f} to {found.upper:+.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--galaxies", type=int, default=1500, help="training galaxies of each survey")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--labels", type=int, default=1000, help=f"training galaxies of {NEW}")
    parser.add_argument("--label-epochs", type=int, default=20)
    parser.add_argument("--validation", type=int, default=200)
    parser.add_argument("--test", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path(gettempdir()) / "gzflow-bench-joint")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    print(f"{time.strftime('%d %B %Y, %H:%M')}  python {' '.join(sys.argv)}", flush=True)

    def drawn(survey: str, n_train: int, seed: int) -> ShardSet:
        counts = {"train": n_train, "validation": given.validation, "test": given.test}
        return simulated_set(survey, counts, given.work / f"shards-{survey}", seed=seed)

    def budget(epochs: int) -> dict[str, int]:
        # Nobody is stopped early: the best epoch is kept, and the rate falls to its end.
        return {"epochs": epochs, "patience": epochs, "batch_size": 32, "seed": given.seed}

    sets = {survey: drawn(survey, given.galaxies, seed) for seed, survey in enumerate(SURVEYS, start=21)}
    config = TrainConfig(encoder=ENCODER, lr=3e-3, **budget(given.epochs))
    joint = trained("joint", JointSet(given.work / "joint", list(sets.values())), config, given.work)
    gains = []
    lines = ["| survey | constant | alone | together | gain |", "|---|---|---|---|---|"]
    for survey, shards in sets.items():
        alone = test_nll(trained(survey, shards, config, given.work).model, shards)
        together = test_nll(joint.model.answering(survey), shards)
        gains.append(gain(alone, together))
        row = [survey, *(f"{nll:.2f}" for nll in (constant_nll(shards), alone.mean(), together.mean()))]
        lines.append(f"| {' | '.join(row)} | {words(gains[-1])} |")
    print("\n" + "\n".join(lines) + "\n", flush=True)

    shards = drawn(NEW, given.labels, 24)
    tuning = FineTuneConfig(lr=3e-3, **budget(given.label_epochs))
    scratch = TrainConfig(encoder=ENCODER, lr=3e-3, **budget(given.label_epochs))
    rivals = {
        "random weights": trained(f"{NEW}-scratch", shards, scratch, given.work),
        "decals alone": trained(f"{NEW}-from-decals", shards, tuning, given.work, given.work / "decals" / "model"),
    }
    tuned = test_nll(trained(f"{NEW}-from-joint", shards, tuning, given.work, joint.folder).model, shards)
    print(f"\n{NEW}, {given.labels:,} labels, constant {constant_nll(shards):.2f}\n")
    print("| starts from | test NLL | gain of the joint start |\n|---|---|---|")
    for name, result in rivals.items():
        nll = test_nll(result.model, shards)
        gains.append(gain(nll, tuned))
        print(f"| {name} | {nll.mean():.2f} | {words(gains[-1])} |")
    print(f"| {', '.join(SURVEYS)} together | {tuned.mean():.2f} | |", flush=True)
    assert all(found.upper >= 0 for found in gains), "learning together is shown to be worse than a rival"


if __name__ == "__main__":
    main()
