"""Predict on a node that has the compute core and nothing else; the parts are those that `gzflow predict` writes."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gzflow import __version__
from gzflow.durable import write_json
from gzflow.errors import PredictionError
from gzflow.lock import exclusive
from gzflow.model.morphology import Morphology, read_fingerprint
from gzflow.prediction.export import layout, part_table, write_part
from gzflow.prediction.predict import Predictor
from gzflow.shards.header import MANIFEST
from gzflow.shards.reader import ShardSet
from gzflow.terminal import plain_command

logger = logging.getLogger("gzflow.prediction")
PIN = "run.json"


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    given = _parser().parse_args(arguments)
    with plain_command(given.out):
        shards = ShardSet.open(given.shards)
        with exclusive(given.out, f"predicting {shards.survey}"):
            predict_set(given.model, shards, given.out, samples=given.samples, seed=given.seed)


def predict_set(model_folder: Path, shards: ShardSet, out: Path, *, samples: int | None = None, seed: int = 42) -> None:
    """Write one Parquet part a shard and, last, the manifest; parts that are there are kept.

    Parameters
    ----------
    samples
        Dropout samples a galaxy; None is as many as the model was made for.

    Raises
    ------
    RecipeMismatch
        The images were made another way than the model's.
    PredictionError
        The folder holds predictions of another model, shards or options.
    """
    model = Morphology.load(model_folder).answering(shards.survey)
    model.require_recipe(shards.recipe)
    samples = model.spec.require_samples(samples)
    pinned = {
        "model": model_folder.name,
        "version": "files",
        "model_fingerprint": read_fingerprint(model_folder),
        "training_fingerprint": model.spec.training_fingerprint or "",
        "tree_fingerprint": model.tree.fingerprint,
        "shard_fingerprint": shards.fingerprint,
        "samples": samples,
        "seed": seed,
        "layout": layout(model.support is not None),
    }
    _pin(out, pinned)
    about = {key: shards.manifest.survey_info.get(key, "") for key in ("citation", "licence", "acknowledgement")}
    learnt_from = ", ".join(model.spec.learnt_from)
    metadata = {"gzflow_version": __version__, "survey": shards.survey, "learnt_from": learnt_from} | about | pinned
    predictor = Predictor(model)
    entries, reused = [], 0
    for entry in shards.entries():
        part = out / f"part-{Path(entry.file).stem}.parquet"
        if part.is_file() and pq.read_metadata(part).num_rows == entry.n:
            reused += entry.n
        else:
            predicted = predictor.predict(shards.reader(entry), n_samples=samples, seed=seed)
            write_part(part, part_table(predicted, model.tree, metadata | {"split": entry.split}))
        entries.append({"file": part.name, "shard": entry.file, "n": entry.n, "split": entry.split})
        logger.info("%s: %d galaxies", part.name, entry.n)
    n = shards.n()
    counts = {"n_in": n, "done": n, "reused": reused, "filtered": 0, "failed": 0, "to_do": 0}
    write_json(out / MANIFEST, {"survey": shards.survey, "pinned": pinned, "counts": counts, "entries": entries})
    logger.info("%d galaxies predicted: %s", n, out)


def _pin(out: Path, pinned: dict[str, Any]) -> None:
    """Write down what the folder is about; refuse one that is about something else."""
    path = out / PIN
    if not path.is_file():
        write_json(path, pinned)
        return
    known = json.loads(path.read_text("utf-8"))
    if known != pinned:
        raise PredictionError(
            "the folder holds predictions of another kind",
            where=str(out),
            problems=[
                f"{key}: {known.get(key)!r} there, {value!r} now"
                for key, value in pinned.items()
                if known.get(key) != value
            ],
            expected="one model, one set of shards and one seed a catalogue",
            fix="predict into a new folder",
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gzflow.prediction",
        description="Predict vote fractions for all galaxies of a set of shards. Run again, it goes on.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder with model.json and model.safetensors")
    parser.add_argument("shards", type=Path, metavar="SHARDS", help="folder that `gzflow shard` wrote")
    parser.add_argument("out", type=Path, metavar="OUT", help="where the parts go")
    parser.add_argument("--samples", type=int, help="dropout samples a galaxy (default: the model's number)")
    parser.add_argument("--seed", type=int, default=42, help="of the dropout (default: 42)")
    return parser


if __name__ == "__main__":
    main()
