"""What the range of the head's concentrations is worth: ours against Zoobot's (1, 101), on the simulated sky.

The same network, seed, galaxies and epochs; only the range differs. Scored on held-out galaxies beside the constant
Dirichlet, in nats a galaxy: lower is better.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from galaxies import simulated_set
from timing import machine

from gzflow.model.losses import constant_dirichlet, dirichlet_multinomial_nll
from gzflow.model.spec import RANGE
from gzflow.training.config import TrainConfig
from gzflow.training.trainer import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--galaxies", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=42)
    given = parser.parse_args()
    print(machine())
    with TemporaryDirectory() as temporary:
        n = given.galaxies
        counts = {"train": 7 * n // 10, "validation": n // 10, "test": n // 5}
        data = simulated_set("decals", counts, Path(temporary) / "shards", seed=given.seed)
        votes = torch.from_numpy(data.votes("test"))
        images = np.concatenate([reader.images(slice(None)) for reader in data.readers("test")])
        constant = torch.from_numpy(constant_dirichlet(data.votes("train"), data.tree))
        loss = dirichlet_multinomial_nll(votes, constant.expand(len(votes), -1), data.tree)
        print(f"constant Dirichlet             test NLL {loss.sum(1).mean():.2f}  ({len(votes)} galaxies)")
        for bounds in (RANGE, (1.0, 101.0)):
            config = TrainConfig(epochs=given.epochs, seed=given.seed, concentrations=bounds)
            result = train(data, config, Path(temporary) / f"run-{bounds[0]}")
            with torch.inference_mode():
                found = torch.cat([result.model(part) for part in np.array_split(images, 4)])
            loss = dirichlet_multinomial_nll(votes, found, data.tree)
            seconds = sum(epoch["seconds"] for epoch in result.history)
            shown = f"({bounds[0]:g}, {bounds[1]:g})"
            print(f"concentrations in {shown:<12} test NLL {loss.sum(1).mean():.2f}  {seconds:.0f} s")


if __name__ == "__main__":
    main()
