"""What T dropout samples of every galaxy cost: on one encoder pass, against T passes through the whole network.

    python benchmarks/bench_head_sampling.py --pixels 224 --samples 5

Claim: at T = 5 at most 1.05 times one pass. Both are run in turn and their medians compared; that their distributions
are the same is asserted on the way.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from gzflow import ImageRecipe, load_survey
from gzflow.model.morphology import Morphology
from gzflow.model.spec import ModelSpec, SurveyTree


def timed(run: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="efficientnet_b0")
    parser.add_argument("--pixels", type=int, default=224)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.manual_seed(0)
    tree = load_survey("decals").tree
    spec = ModelSpec(
        encoder=options.encoder,
        trees=(SurveyTree(survey="decals", tree=tree.to_dict()),),
        recipe=ImageRecipe(pixels=options.pixels),
        input_pixels=options.pixels,
        mean=(60.0,) * 3,
        std=(40.0,) * 3,
    )
    model = Morphology(spec).eval().to(device)
    images = torch.randint(0, 255, (options.batch, options.pixels, options.pixels, 3), dtype=torch.uint8).to(device)

    def one_pass() -> torch.Tensor:
        return model(images)

    def sampled() -> torch.Tensor:
        return model.concentrations(images, options.samples)

    def naive() -> torch.Tensor:
        model.head.train()
        passes = torch.stack([model(images) for _ in range(options.samples)], dim=1)
        model.head.eval()
        return passes

    times: dict[str, list[float]] = {"one pass": [], "sampled head": [], "naive passes": []}
    with torch.inference_mode():
        for run in (one_pass, sampled):
            run()
        for _ in range(options.repeats):
            times["one pass"].append(timed(one_pass, device))
            times["sampled head"].append(timed(sampled, device))
        for _ in range(max(1, options.repeats // 3)):
            times["naive passes"].append(timed(naive, device))
        features = model.encode(images[:1])
        ours = model.head.sample(features, 5000)[0].cpu().numpy()
        naive_head = model.head.train()(features.expand(5000, -1)).cpu().numpy()
    np.testing.assert_allclose(ours.mean(0), naive_head.mean(0), rtol=0.02)
    np.testing.assert_allclose(ours.std(0), naive_head.std(0), rtol=0.1, atol=1e-3)
    base = statistics.median(times["one pass"])
    print(f"{options.encoder}, {options.pixels} px, batch {options.batch}, T = {options.samples}, {device}")
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"{name:14s} {middle * 1000:9.1f} ms  {options.batch / middle:8.0f} galaxies/s  {middle / base:.3f} x")


if __name__ == "__main__":
    main()
