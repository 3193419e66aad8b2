"""Training images and predicted galaxies a second on one accelerator, from raw shards, compiled or not.

    python benchmarks/bench_gpu.py --galaxies 8192

Noise images will do. Training runs through `gzflow.training.train` itself, loader and augmentation included: its first
epoch warms up, the last one counts. Prediction runs from a shard to concentrations, and with --table to the Parquet
table too. What one step costs without any loader is printed beside it, so that the slower side shows.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from galaxies import TREE, shard_set
from timing import machine

from gzflow.model.losses import dirichlet_multinomial_nll
from gzflow.model.morphology import Morphology
from gzflow.model.spec import ModelSpec, SurveyTree
from gzflow.prediction.export import part_table
from gzflow.prediction.predict import Predictor
from gzflow.shards.reader import ShardSet
from gzflow.training.config import TrainConfig
from gzflow.training.trainer import train


def waited(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def per_second(step: Callable[[], object], n: int, device: torch.device, repeats: int) -> float:
    for _ in range(5):
        step()
    start = waited(device)
    for _ in range(repeats):
        step()
    return n * repeats / (waited(device) - start)


def training(shards: ShardSet, folder: Path, options: argparse.Namespace, *, compiled: bool) -> dict[str, float]:
    config = TrainConfig(
        encoder=options.encoder, epochs=3, batch_size=options.batch, workers=options.workers, compile=compiled
    )
    result = train(shards, config, folder / f"run-{compiled}", resume=False)
    return {"images_per_s": round(result.history[-1]["images_per_s"], 1)}


def prediction(shards: ShardSet, spec: ModelSpec, options: argparse.Namespace, *, compiled: bool) -> dict[str, float]:
    predictor = Predictor(Morphology(spec), device=options.device, batch_size=options.predict_batch, compiled=compiled)
    reader = shards.readers("train")[0]
    rates = {}
    for samples in (1, 5, 20):
        predictor.predict(reader, n_samples=samples)
        start = time.perf_counter()
        part = predictor.predict(reader, n_samples=samples)
        if options.table:
            part_table(part, TREE, {})
        rates[f"galaxies_per_s_{samples}_samples"] = round(len(reader) / (time.perf_counter() - start), 1)
    return rates


def bare(spec: ModelSpec, options: argparse.Namespace) -> dict[str, float]:
    """The network alone, on images that are on the device already, in bfloat16."""
    device = torch.device(options.device)
    model = Morphology(spec).to(device)
    rates: dict[str, float] = {}

    def images(n: int) -> torch.Tensor:
        size = spec.input_pixels
        return torch.randint(0, 255, (n, size, size, 3), dtype=torch.uint8, device=device)

    shown, votes = images(options.batch), torch.ones(options.batch, len(TREE.answers), device=device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=device.type == "cuda")

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16):
            concentrations = model(shown)
        dirichlet_multinomial_nll(votes, concentrations, TREE, validate=False).sum(1).mean().backward()
        optimizer.step()

    rates["training_steps_images_per_s"] = round(per_second(step, options.batch, device, options.repeats), 1)
    model.eval()
    many = images(options.predict_batch)

    def infer() -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            model(many)

    rates["inference_images_per_s"] = round(per_second(infer, options.predict_batch, device, options.repeats), 1)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--encoder", default="efficientnet_b0")
    parser.add_argument("--galaxies", type=int, default=4096)
    parser.add_argument("--pixels", type=int, default=300)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--predict-batch", type=int, default=512)
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--compiled", choices=("off", "on", "both"), default="both")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="write the results as JSON too")
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    print(machine(), name, f"torch {torch.__version__}", flush=True)
    rng = np.random.default_rng(0)
    results: dict[str, Any] = {"device": name, "torch": torch.__version__, "options": str(vars(options))}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        n = min(options.galaxies, 4000)
        noise = rng.integers(0, 255, (n + 64, options.pixels, options.pixels, 3), np.uint8)
        shards = shard_set(noise, folder / "shards", pixels=options.pixels, validation=64)
        spec = ModelSpec(
            encoder=options.encoder,
            trees=(SurveyTree(survey="bench", tree=TREE.to_dict()),),
            recipe=shards.recipe,
            input_pixels=int(TrainConfig().resolve(n, shards.recipe).input_pixels),
            mean=(128.0,) * 3,
            std=(70.0,) * 3,
        )
        results["network alone"] = bare(spec, options)
        print("network alone", results["network alone"], flush=True)
        for compiled in {"off": (False,), "on": (True,), "both": (False, True)}[options.compiled]:
            how = "compiled" if compiled else "eager"
            for what, run in (
                ("training", lambda c=compiled: training(shards, folder, options, compiled=c)),
                ("prediction", lambda c=compiled: prediction(shards, spec, options, compiled=c)),
            ):
                results[f"{what}, {how}"] = run()
                print(f"{what}, {how}", results[f"{what}, {how}"], flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
