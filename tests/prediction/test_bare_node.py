"""`python -m gzflow.prediction`: parts and a manifest without any server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from gzflow.errors import PredictionError, RecipeMismatch
from gzflow.model.morphology import Morphology
from gzflow.model.spec import ModelSpec, SurveyTree
from gzflow.prediction.__main__ import predict_set
from gzflow.recipe import ImageRecipe
from gzflow.shards.header import ShardHeader
from gzflow.shards.reader import ShardSet
from gzflow.shards.writer import begin_set, write_manifest, write_shard
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree((Question("shape", ("round", "disk")),))
RECIPE = ImageRecipe(pixels=32)


@pytest.fixture
def shards(tmp_path: Path) -> ShardSet:
    rng = np.random.default_rng(2)
    folder = tmp_path / "shards"
    begin_set(folder)
    header = ShardHeader(survey="toy", tree=TREE.to_dict(), recipe=RECIPE, split="train")
    entries = [
        write_shard(
            folder / f"{split}-00000.h5",
            header.model_copy(update={"split": split}),
            images=rng.integers(0, 255, (n, 32, 32, 3), dtype=np.uint8),
            votes=np.zeros((n, 2), np.int32),
            ids=[f"{split}-{i}" for i in range(n)],
            ra=np.zeros(n),
            dec=np.zeros(n),
            pixscale=np.ones(n),
        )
        for split, n in (("train", 5), ("test", 3))
    ]
    write_manifest(folder, header, entries, survey_info={"citation": "Somebody et al.", "licence": "CC0"})
    return ShardSet.open(folder)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    spec = ModelSpec(
        encoder="shufflenet_v2_x0_5",
        trees=(SurveyTree(survey="toy", tree=TREE.to_dict()),),
        recipe=RECIPE,
        input_pixels=32,
        mean=(90.0,) * 3,
        std=(60.0,) * 3,
        samples=6,
        notes={"joint": "toy, other"},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Morphology(spec).save(tmp_path / "model")
    return tmp_path / "model"


def test_every_galaxy_once_with_its_provenance_and_again_for_nothing(
    shards: ShardSet, model_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict_set(model_folder, shards, out)
    tables = [pq.read_table(part) for part in sorted(out.glob("part-*.parquet"))]
    ids = [id_str for table in tables for id_str in table.column("id_str").to_pylist()]
    assert sorted(ids) == sorted(shards.ids())
    metadata = {key.decode(): value.decode() for key, value in tables[0].schema.metadata.items()}
    assert metadata["citation"] == "Somebody et al."
    assert metadata["shard_fingerprint"] == shards.fingerprint
    assert metadata["learnt_from"] == "toy, other"
    assert metadata["n_samples"] == "6"  # as the model was made for
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["counts"]["done"] == manifest["counts"]["n_in"] == 8
    assert {entry["split"] for entry in manifest["entries"]} == {"train", "test"}

    (out / "manifest.json").unlink()
    (out / "part-test-00000.parquet").unlink()
    kept = (out / "part-train-00000.parquet").stat().st_mtime_ns
    predict_set(model_folder, shards, out)
    assert (out / "part-train-00000.parquet").stat().st_mtime_ns == kept
    assert json.loads((out / "manifest.json").read_text())["counts"]["reused"] == 5
    assert pq.read_table(out / "part-test-00000.parquet").equals(tables[0])


def test_other_predictions_and_other_images_are_refused(shards: ShardSet, model_folder: Path, tmp_path: Path) -> None:
    predict_set(model_folder, shards, tmp_path / "out")
    with pytest.raises(PredictionError, match=r"seed: 42 there, 1 now(.|\n)*new folder"):
        predict_set(model_folder, shards, tmp_path / "out", seed=1)
    spec = json.loads((model_folder / "model.json").read_text())
    spec["recipe"]["name"] = "gzdecals"
    (model_folder / "model.json").write_text(json.dumps(spec))
    with pytest.raises(RecipeMismatch):
        predict_set(model_folder, shards, tmp_path / "else")
