"""From shards to a registered champion to a catalogue, stage by stage as the flows call them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from gzflow.errors import ModelError, NoChampion, PredictionError, RecipeMismatch, ShardError
from gzflow.model.morphology import Morphology
from gzflow.prediction.predict import Predictor
from gzflow.settings import Settings
from gzflow.shards.reader import ShardSet
from gzflow.simulation.survey import SimulatedSurvey
from gzflow.stages import predict, train
from gzflow.stages.counts import Counts, total
from gzflow.stages.train_summary import RESULT
from gzflow.surveys import load_survey
from gzflow.tracking.client import connect
from gzflow.tracking.registry import Registry
from gzflow.training.config import TrainConfig

PIXELS = 32
CONFIG = TrainConfig(encoder="mobilenet_v3_small", epochs=2, batch_size=16, seed=1)
SIZES = {"train": 40, "validation": 10, "test": 14}


@pytest.fixture(scope="module")
def survey() -> SimulatedSurvey:
    return SimulatedSurvey.draw("decals", sum(SIZES.values()), 3, pixels=PIXELS)


@pytest.fixture(scope="module")
def trained(survey: SimulatedSurvey, write_shards, tmp_path_factory: pytest.TempPathFactory):
    """A home with shards and one trained model: (settings, survey TOML, summary)."""
    home = tmp_path_factory.mktemp("trained")
    settings = Settings.load({}, home=home / "home")
    toml = str(survey.write(home / "simulated", "http://127.0.0.1:1", name="sim").toml)
    write_shards(settings, survey, toml, SIZES)
    chunk = train.plan(toml, settings, pixels=None, config=CONFIG)
    epochs = []
    summary = train.run_chunk(chunk, settings, on_epoch=epochs.append, flow_run=("flow-1", "http://here/flow-1"))
    assert len(epochs) == 2
    return settings, toml, summary


def predicted(
    options: predict.PredictOptions, settings: Settings, flow_run: tuple[str, str] | None = None
) -> tuple[predict.PredictSummary, Counts]:
    plan = predict.plan(options, settings)
    counts = total(predict.run_chunk(chunk, settings) for chunk in plan.chunks)
    return predict.finish(plan, counts, settings, flow_run=flow_run), counts


def test_the_first_model_is_champion_and_its_run_tells_everything(trained):
    settings, _, summary = trained
    assert (summary.alias, summary.version, summary.n_test) == ("champion", "1", SIZES["test"])
    assert np.isfinite([summary.loss, summary.constant, summary.majority]).all()
    registry = Registry(settings)
    assert registry.champion("sim").version == "1"
    run = registry.client.get_run(summary.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["encoder"] == "mobilenet_v3_small"
    assert run.data.tags["prefect.flow_run_id"] == "flow-1"
    assert {"val/loss", "train/loss", "test/nll", "test/nll-constant", "test/nll-majority"} <= set(run.data.metrics)
    assert len(registry.client.get_metric_history(summary.run_id, "val/loss")) == 2
    assert {split.dataset.name for split in run.inputs.dataset_inputs} == {f"sim-32px-{split}" for split in SIZES}
    files = {file.path for file in registry.client.list_artifacts(summary.run_id, "figures")}
    assert {"figures/training-curves.png", "figures/reliability.png"} <= files


def test_training_again_returns_the_finished_run(trained):
    settings, toml, summary = trained
    again = train.run_chunk(train.plan(toml, settings, pixels=PIXELS, config=CONFIG), settings)
    assert again.reused
    assert (again.version, again.run_id) == (summary.version, summary.run_id)


def test_the_catalogue_holds_every_galaxy_once_with_its_provenance(trained, survey):
    settings, toml, summary = trained
    result, counts = predicted(predict.PredictOptions(survey=toml, samples=5), settings)
    n = sum(SIZES.values())
    assert counts == Counts(n_in=n, done=n)
    table = pq.read_table([str(path) for path in sorted(result.folder.glob("part-*.parquet"))])
    assert sorted(table.column("id_str").to_pylist()) == sorted(survey.ids)
    tree = load_survey(toml).tree
    for question in tree.questions:
        sums = sum(table.column(f"{column}_fraction").to_numpy() for column in question.columns)
        np.testing.assert_allclose(sums, 1, atol=1e-5)
        for column in question.columns:
            lower, mean, upper = (table.column(f"{column}_{end}").to_numpy() for end in ("lower", "fraction", "upper"))
            assert ((lower >= 0) & (lower <= upper) & (upper <= 1)).all()
            assert ((lower < mean) & (mean < upper)).mean() > 0.9
        assert (table.column(f"{question.name}_proportion-asked").to_numpy() <= 1).all()
    metadata = pq.read_schema(next(iter(result.folder.glob("*.parquet")))).metadata
    assert metadata[b"model_uri"] == b"models:/gzflow-sim/1"
    assert metadata[b"run_id"] == summary.run_id.encode()
    assert result.gallery is not None
    assert result.gallery.stat().st_size > 10_000


def test_a_second_run_and_a_lost_part_give_the_same_bits(trained):
    settings, toml, _ = trained
    options = predict.PredictOptions(survey=toml, samples=5)
    result, _ = predicted(options, settings)
    part = result.folder / "part-test-00000.parquet"
    before = part.read_bytes()
    _, again = predicted(options, settings)
    assert again.reused == again.n_in
    part.unlink()
    _, redone = predicted(options, settings)
    assert redone.reused == redone.n_in - SIZES["test"]
    assert part.read_bytes() == before


def test_the_registered_model_is_the_saved_one(trained, survey):
    settings, _, summary = trained
    images = np.stack([survey.picture(row) for row in range(4)])
    kept = Morphology.load(summary.folder / "model").concentrations(images, 3, seed=5)
    registered = Morphology.load(Registry(settings).champion("sim").folder).concentrations(images, 3, seed=5)
    np.testing.assert_array_equal(kept.detach().numpy(), registered.detach().numpy())


ELSEWHERE = """
import hashlib, sys
from pathlib import Path
import torch
from gzflow.model.morphology import Morphology
from gzflow.prediction.predict import Predictor
from gzflow.settings import Settings
from gzflow.shards.reader import ShardReader
from gzflow.tracking.registry import Registry
home, shard, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
model = Morphology.load(Registry(Settings.load({}, home=Path(home))).champion("sim").folder)
found = Predictor(model).predict(ShardReader(Path(shard)), n_samples=5, seed=3).concentrations
print(hashlib.sha256(found).hexdigest())
"""


@pytest.mark.slow
def test_another_process_that_loads_the_registered_model_predicts_the_same_bits(trained):
    settings, _, summary = trained
    (reader,) = ShardSet.open(settings.shards("sim", PIXELS)).readers("test")
    trained_here = Morphology.load(summary.folder / "model")
    here = hashlib.sha256(Predictor(trained_here).predict(reader, n_samples=5, seed=3).concentrations).hexdigest()
    shard = settings.shards("sim", PIXELS) / "test-00000.h5"
    command = [sys.executable, "-c", ELSEWHERE, str(settings.home), str(shard), str(torch.get_num_threads())]
    there = subprocess.run(command, capture_output=True, text=True, check=True, timeout=250).stdout
    assert there.strip() == here


def test_a_registered_model_that_was_tampered_with_is_refused(trained):
    settings, *_ = trained
    weights = Registry(settings).champion("sim").folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        with pytest.raises(ModelError, match="is not the file that"):
            Morphology.load(Registry(settings).champion("sim").folder)
    finally:
        weights.write_bytes(whole)


def test_an_unfinished_run_of_another_version_is_refused(trained):
    settings, toml, _ = trained
    folder = settings.predictions("sim") / "v9-unfinished"
    folder.mkdir(parents=True)
    (folder / predict.PIN).write_text(json.dumps({"model_uri": "models:/gzflow-sim/9", "version": "9"}))
    (folder / "part-test-00000.parquet").write_bytes(b"")
    options = predict.PredictOptions(survey=toml, samples=6)
    with pytest.raises(PredictionError, match=r"models:/gzflow-sim/9(.|\n)*models:/gzflow-sim/1") as caught:
        predict.plan(options, settings)
    assert "--model 9" in str(caught.value)
    assert predict.plan(predict.PredictOptions(survey=toml, samples=6, fresh=True), settings).chunks
    shutil.rmtree(folder)


def test_images_made_another_way_are_refused_or_stamped(trained, survey, write_shards, tmp_path):
    settings, toml, _ = trained
    changed = tmp_path / "changed.toml"
    changed.write_text(Path(toml).read_text().replace("pixscale = ", 'pixscale = "0.3" # '))
    write_shards(settings, survey, str(changed), SIZES)
    try:
        with pytest.raises(RecipeMismatch, match="scale_rule"):
            predict.plan(predict.PredictOptions(survey=str(changed)), settings)
        allowed = predict.PredictOptions(survey=str(changed), samples=2, allow_recipe_mismatch=True)
        result, _ = predicted(allowed, settings)
        table = pq.read_table(result.folder / "part-test-00000.parquet")
        assert "scale_rule" in table.column("recipe_mismatch").to_pylist()[0]
    finally:
        write_shards(settings, survey, toml, SIZES)


def test_without_a_model_or_shards_the_message_says_what_to_run(survey, write_shards, settings, tmp_path):
    toml = str(survey.write(tmp_path, "http://127.0.0.1:1", name="sim").toml)
    with pytest.raises(ShardError, match="gzflow shard sim"):
        train.plan(toml, settings, pixels=None, config=CONFIG)
    write_shards(settings, survey, toml, SIZES)
    with pytest.raises(NoChampion, match="gzflow train"):
        predict.plan(predict.PredictOptions(survey=toml), settings)


def test_which_of_two_shard_sets_must_be_said(survey, write_shards, settings, tmp_path):
    toml = str(survey.write(tmp_path, "http://127.0.0.1:1", name="sim").toml)
    folder = write_shards(settings, survey, toml, SIZES)
    shutil.copytree(folder, folder.with_name("48px"))
    with pytest.raises(ShardError, match="--pixels"):
        train.plan(toml, settings, pixels=None, config=CONFIG)
    assert ShardSet.open(Path(train.plan(toml, settings, pixels=PIXELS, config=CONFIG).shards)).n() == 64


def test_a_run_killed_before_its_result_was_written_registers_nothing_twice(trained):
    settings, toml, summary = trained
    (summary.folder / RESULT).unlink()
    again = train.run_chunk(train.plan(toml, settings, pixels=PIXELS, config=CONFIG), settings)
    assert (again.version, again.run_id, again.alias) == (summary.version, summary.run_id, "champion")
    assert len(Registry(settings).client.search_model_versions("name = 'gzflow-sim'")) == 1


def test_an_emptied_tracking_store_gets_a_new_run(trained, tmp_path):
    settings, toml, summary = trained
    moved = tmp_path / "mlflow"
    (summary.folder / RESULT).rename(tmp_path / RESULT)
    elsewhere = Settings.load({"MLFLOW_TRACKING_URI": f"sqlite:///{moved / 'new.db'}"}, home=settings.home)
    again = train.run_chunk(train.plan(toml, elsewhere, pixels=PIXELS, config=CONFIG), elsewhere)
    assert again.run_id != summary.run_id
    assert again.version == "1"
    (tmp_path / RESULT).rename(summary.folder / RESULT)


def test_a_test_galaxy_on_a_training_galaxy_is_left_out_and_a_touching_stamp_is_counted(
    survey, write_shards, settings, tmp_path
):
    toml = str(survey.write(tmp_path, "http://127.0.0.1:1", name="sim").toml)
    first_test = SIZES["train"] + SIZES["validation"]
    ra, dec = survey.galaxies["ra"].copy(), survey.galaxies["dec"].copy()
    ra[first_test : first_test + 2] = ra[:2]
    dec[first_test : first_test + 2] = dec[:2] + np.array([1, 10]) / 3600
    write_shards(settings, survey, toml, SIZES, positions=(ra, dec))
    summary = train.run_chunk(train.plan(toml, settings, pixels=None, config=CONFIG), settings)
    assert (summary.n_test, summary.n_leaked, summary.n_overlapping) == (SIZES["test"] - 1, 1, 1)


def test_every_galaxy_has_its_support_and_the_run_says_how_it_drifts(trained):
    settings, toml, _ = trained
    result, _ = predicted(predict.PredictOptions(survey=toml, samples=5), settings)
    table = pq.read_table([str(path) for path in sorted(result.folder.glob("part-*.parquet"))])
    support = table.column("support").to_numpy()
    assert ((support > 0) & (support <= 1)).all()
    assert np.isfinite(table.column("image_sharpness").to_numpy()).all()
    assert b"do not trust" in table.schema.field("support").metadata[b"description"]
    drift = json.loads((result.folder / "drift.json").read_text())
    assert drift["n"] == sum(SIZES.values())
    # Ten validation galaxies cannot tell one in twenty.
    assert drift["out"] == 0
    assert {"support_features", "image_sky"} <= {number["name"] for number in drift["numbers"]}
    assert (result.folder / "drift.png").read_bytes().startswith(b"\x89PNG")
    assert result.drift is not None
    assert result.drift.sentence() == drift["sentence"]


def test_a_catalogue_has_one_run_with_its_drift_below_the_run_that_made_its_model(trained):
    settings, toml, summary = trained
    options = predict.PredictOptions(survey=toml, samples=5)
    for _ in range(2):
        result, _ = predicted(options, settings, flow_run=("flow-2", ""))
    client = connect(settings)
    experiment = client.get_experiment_by_name("gzflow-sim").experiment_id
    runs = client.search_runs(
        [experiment], f"tags.`gzflow.kind` = 'prediction' AND run_name LIKE '%{result.folder.name}'"
    )
    assert len(runs) == 1
    assert runs[0].info.status == "FINISHED"
    assert runs[0].data.tags["mlflow.parentRunId"] == summary.run_id
    assert runs[0].data.tags["prefect.flow_run_id"] == "flow-2"  # by which it is ended when the flow run dies
    assert runs[0].data.metrics == pytest.approx(result.drift.metrics())
    assert {"drift/out-of-support", "drift/distance/support_features", "drift/median/image_sky"} <= set(
        runs[0].data.metrics
    )
    kept = {file.path for folder in ("", "figures") for file in client.list_artifacts(runs[0].info.run_id, folder)}
    assert {"drift.json", "figures/drift.png"} <= kept


def test_a_model_of_before_there_were_supports_predicts_and_says_so(trained, tmp_path):
    settings, toml, summary = trained
    old = tmp_path / "old"
    shutil.copytree(summary.folder / "model", old)
    (old / "support.safetensors").unlink()
    description = json.loads((old / "model.json").read_text())
    del description["support_blake2b"]
    (old / "model.json").write_text(json.dumps(description))
    result, _ = predicted(predict.PredictOptions(survey=toml, samples=5, model=str(old), fresh=True), settings)
    assert "support" not in pq.read_schema(result.folder / "part-test-00000.parquet").names
    assert json.loads((result.folder / predict.PIN).read_text())["layout"] == 2
    assert "before gzflow kept a support" in result.drift_sentence()
    assert not (result.folder / "drift.json").exists()
