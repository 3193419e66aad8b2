"""Galaxies a second from shards or files to a written catalogue: gzflow against zoobot's predict_on_catalog.

    python benchmarks/bench_predict.py

EfficientNet-B0 at 224 px on the same galaxies: gzflow reads 300 px shards, zoobot the 424 px JPEG files. zoobot's cost
of T dropout samples is T times its single pass; gzflow samples the head alone. Intervals and Parquet are part of
gzflow's time, a CSV of the plain outputs of zoobot's. The rival is left out, and said so, when it is not installed.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
import warnings
from pathlib import Path

import torch
from galaxies import TREE, jpeg_files, pictures, shard_set
from timing import machine

from gzflow.model.morphology import Morphology
from gzflow.model.spec import ModelSpec, SurveyTree
from gzflow.prediction.export import part_table, write_part
from gzflow.prediction.predict import Predictor
from gzflow.shards.reader import ShardSet

os.environ.setdefault("WANDB_MODE", "disabled")


def ours(shards: ShardSet, folder: Path, precision: str, samples: int, compiled: bool, device: str) -> float:
    spec = ModelSpec(
        trees=(SurveyTree(survey="bench", tree=TREE.to_dict()),),
        recipe=shards.recipe,
        input_pixels=224,
        mean=(60.0,) * 3,
        std=(40.0,) * 3,
    )
    predictor = Predictor(Morphology(spec), device=device, precision=precision, batch_size=64, compiled=compiled)
    best = 0.0
    for i in range(3):
        start = time.perf_counter()
        for reader in shards.readers():
            part = predictor.predict(reader, n_samples=samples)
            write_part(folder / f"part-{precision}-{samples}-{i}.parquet", part_table(part, TREE, {}))
        best = max(best, shards.n() / (time.perf_counter() - start))
    return best


def rival(paths: list[Path], folder: Path) -> float | None:
    try:
        import pandas as pd
        from galaxy_datasets import transforms
        from zoobot.pytorch.estimators.define_model import ZoobotTree
        from zoobot.pytorch.predictions import predict_on_catalog
    except ImportError as error:
        print(f"the rival is not installed ({error}): see benchmarks/requirements-rival.txt")
        return None
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    questions = {q.name: [f"_{answer}" for answer in q.answers] for q in TREE.questions}
    model = ZoobotTree(
        output_dim=len(TREE.answers),
        question_answer_pairs=questions,
        dependencies=dict.fromkeys(questions),
        architecture_name="efficientnet_b0",
        channels=3,
        test_time_dropout=True,
    )
    # Its own predict hands whole batches to a forward that wants the images.
    forward = model.forward
    model.forward = lambda batch: forward(batch["image"] if isinstance(batch, dict) else batch)
    catalog = pd.DataFrame({"id_str": [path.stem for path in paths], "file_loc": [str(path) for path in paths]})
    start = time.perf_counter()
    predict_on_catalog.predict(
        catalog,
        model,
        str(folder / "rival.csv"),
        label_cols=list(TREE.answers),
        inference_transform=transforms.get_galaxy_transform(transforms.default_view_config()),
        datamodule_kwargs={"batch_size": 64, "num_workers": 1},
        trainer_kwargs={"logger": False, "enable_progress_bar": False, "accelerator": "cpu"},
    )
    return len(paths) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--galaxies", type=int, default=512)
    parser.add_argument("--compiled", action="store_true", help="torch.compile the encoder as well")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    print(machine(), f"{torch.get_num_threads()} torch threads")
    images = pictures(options.galaxies, 424)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = shard_set(images, folder / "shards", pixels=300)
        rates = {}
        for precision in ("float32", "bfloat16"):
            for samples in (1, 5, 20):
                rates[precision, samples] = ours(shards, folder, precision, samples, options.compiled, options.device)
                print(f"gzflow, {precision:8s}, {samples:2d} samples: {rates[precision, samples]:8.1f} galaxies/s")
        if theirs := rival(jpeg_files(images, folder / "jpeg"), folder):
            print(f"zoobot 2.9.0, one pass:        {theirs:8.1f} galaxies/s; five passes {theirs / 5:.1f}")
            for (precision, samples), mine in rates.items():
                print(f"  gzflow, {precision:8s}, {samples:2d} samples: {mine * samples / theirs:6.1f} x")


if __name__ == "__main__":
    main()
