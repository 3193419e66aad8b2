"""A DECaLS-like model learns Hubble's questions, on a sky where both have seen some of the same galaxies."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from gzflow.errors import NoChampion, SettingsError, TrackingError, TrainingError
from gzflow.model.morphology import read_spec
from gzflow.settings import Settings
from gzflow.simulation.galaxies import FIELDS, Galaxies
from gzflow.simulation.survey import SimulatedSurvey
from gzflow.stages import finetune, train
from gzflow.stages.finetune_options import FineTuneOptions
from gzflow.stages.leakage import GALAXIES, ancestry
from gzflow.stages.run_file import RUN
from gzflow.stages.scoring import SCORES
from gzflow.stages.train_summary import RESULT
from gzflow.stages.training_run import run_training
from gzflow.tracking.artifacts import read_artifact
from gzflow.tracking.registry import Registry
from gzflow.training.config import FineTuneConfig, TrainConfig

PIXELS = 32
SIZES = {"train": 40, "validation": 10, "test": 14}
N = sum(SIZES.values())
SHARED = 3
"""As many of the far survey's test galaxies are training galaxies of the near one."""
SCRATCH = TrainConfig(encoder="mobilenet_v3_small", epochs=1, batch_size=16, seed=1)
CONFIG = FineTuneConfig(epochs=2, batch_size=16, blocks=1, lr=1e-3)


class Sky:
    """A home with a champion of the survey "near" and shards of the survey "far"."""

    def __init__(self, root: Path, write_shards) -> None:
        self.settings = Settings.load({}, home=root / "home")
        near = SimulatedSurvey.draw("decals", N, 3, pixels=PIXELS)
        others = SimulatedSurvey.draw("hubble", N, 4, pixels=PIXELS).galaxies
        first = N - SIZES["test"]
        columns = {name: others[name].copy() for name in FIELDS}
        for name, column in columns.items():
            column[first : first + SHARED] = near.galaxies[name][:SHARED]
        far = SimulatedSurvey.draw("hubble", N, 4, pixels=PIXELS, galaxies=Galaxies(columns))
        self.near = str(near.write(root, "http://127.0.0.1:1", name="near").toml)
        self.far = str(far.write(root, "http://127.0.0.1:1", name="far").toml)
        for survey, toml in ((near, self.near), (far, self.far)):
            write_shards(self.settings, survey, toml, SIZES)
        self.parent = train.run_chunk(train.plan(self.near, self.settings, pixels=None, config=SCRATCH), self.settings)
        self.registry = Registry(self.settings)

    def options(self, **changes) -> FineTuneOptions:
        return FineTuneOptions(**{"survey": self.far, "parent": "near", "config": CONFIG} | changes)

    def run(self, **changes) -> finetune.FineTuneSummary:
        return finetune.run(finetune.plan(self.options(**changes), self.settings), self.settings)

    def runs(self) -> list:
        experiment = self.registry.client.get_experiment_by_name("gzflow-far")
        return list(self.registry.client.search_runs([experiment.experiment_id]))


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory, write_shards) -> Sky:
    return Sky(tmp_path_factory.mktemp("sky"), write_shards)


@pytest.fixture(scope="module")
def tuned(sky: Sky) -> finetune.FineTuneSummary:
    """Fine-tuned and from scratch, on all labels and on 15, in one run that tells a flow."""
    plan = finetune.plan(sky.options(label_counts=(15,)), sky.settings)
    return finetune.run(plan, sky.settings, flow_run=("flow-7", "http://here/flow-7"))


def test_the_fine_tune_on_all_labels_alone_is_registered_with_its_parent(sky, tuned):
    model = tuned.tuned
    assert (model.model, model.version, model.alias, model.kind) == ("gzflow-far", "1", "champion", "finetuned")
    assert model.parent == tuned.parent == "models:/gzflow-near/1"
    champion = sky.registry.champion("far")
    assert champion.tags["gzflow.parent_model"] == "models:/gzflow-near/1"
    notes = read_spec(champion.folder).notes
    assert notes["parent_survey"] == "near"
    assert len(sky.registry.client.search_model_versions("name = 'gzflow-far'")) == 1
    assert [(t.kind, t.labels) for t in tuned.trainings] == [
        ("finetuned", 40), ("scratch", 40), ("finetuned", 15), ("scratch", 15),
    ]  # fmt: skip
    assert [t.model for t in tuned.trainings[1:]] == [""] * 3
    assert "models:/gzflow-near/1" in tuned.sentence()
    assert "from scratch" in tuned.sentence()


def test_every_training_is_a_run_below_the_fine_tunes_own(sky, tuned):
    client = sky.registry.client
    whole = client.get_run(tuned.run_id)
    assert whole.info.status == "FINISHED"
    assert whole.data.tags["gzflow.parent_model"] == "models:/gzflow-near/1"
    assert whole.data.tags["prefect.flow_run_id"] == "flow-7"
    for training in tuned.trainings:
        run = client.get_run(training.run_id)
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == tuned.run_id
        assert run.data.tags["gzflow.kind"] == training.kind
        assert ("gzflow.parent_model" in run.data.tags) == (training.kind == "finetuned")
    assert len(sky.runs()) == 5


def test_every_run_has_the_same_metrics(sky, tuned):
    client = sky.registry.client
    plain = train.run_chunk(train.plan(sky.far, sky.settings, pixels=None, config=SCRATCH), sky.settings)
    keys = set(client.get_run(plain.run_id).data.metrics)
    assert {
        "test/nll", "test/nll-constant", "test/skill", "test/gain", "test/coverage90", "best/val-loss", "best/epoch",
        "galaxies/train", "galaxies/validation", "galaxies/test", "test/leaked", "test/leaked-by-parent",
        "test/overlapping-stamps", "test/guard-known", "train/loss", "val/loss",
    } <= keys  # fmt: skip
    assert any(key.startswith("test/nll/") for key in keys)
    for training in tuned.trainings:
        assert set(client.get_run(training.run_id).data.metrics) == keys
    assert keys < set(client.get_run(tuned.run_id).data.metrics)
    assert plain.alias == "challenger"


def test_the_same_budget_stands_beside_it(sky, tuned):
    params = [sky.registry.client.get_run(training.run_id).data.params for training in tuned.trainings[:2]]
    for name in ("encoder", "input_pixels", "epochs", "patience", "batch_size", "seed", "shift"):
        assert params[0][name] == params[1][name]
    assert (params[0]["lr"], params[1]["lr"]) == ("0.001", str(TrainConfig().lr))
    assert params[0]["encoder"] == "mobilenet_v3_small"


def test_galaxies_that_the_parent_has_seen_are_left_out_of_all_scores(sky, tuned):
    for training in tuned.trainings:
        assert (training.n_leaked, training.n_leaked_by_parent) == (SHARED, SHARED)
        assert training.n_test == SIZES["test"] - SHARED
        assert training.guard_unknown == ()
    metrics = sky.registry.client.get_run(tuned.tuned.run_id).data.metrics
    assert (metrics["test/leaked-by-parent"], metrics["test/guard-known"]) == (SHARED, 1)
    seen = ancestry(sky.registry.champion("far"), sky.settings)
    assert seen.models == ("models:/gzflow-far/1", "models:/gzflow-near/1")
    assert len(seen.seen) == 2 * (SIZES["train"] + SIZES["validation"])
    assert seen.unknown == ()


def test_scores_are_kept_galaxy_by_galaxy(sky, tuned):
    content = read_artifact(sky.settings, tuned.tuned.run_id, SCORES)
    assert content == (tuned.tuned.folder / SCORES).read_bytes()
    scores = pl.read_parquet(io.BytesIO(content))
    questions = [name.removesuffix("_nll") for name in scores.columns if name.endswith("_nll")]
    assert scores["nll"].to_numpy() == pytest.approx(scores.select(f"{q}_nll" for q in questions).to_numpy().sum(1))
    assert scores["votes"].to_list() == scores.select(f"{q}_votes" for q in questions).to_numpy().sum(1).tolist()
    voted = scores.filter(pl.col("votes") > 0)
    assert voted["nll"].mean() == pytest.approx(tuned.tuned.loss)
    assert voted["nll_constant"].mean() == pytest.approx(tuned.tuned.constant)
    assert tuned.gain.mean == pytest.approx(tuned.trainings[1].loss - tuned.tuned.loss)
    assert tuned.gain.lower <= tuned.gain.mean <= tuned.gain.upper


def test_the_learning_curve_is_a_picture_and_metrics_by_labels(sky, tuned):
    client = sky.registry.client
    assert tuned.picture is not None
    assert read_artifact(sky.settings, tuned.run_id, "figures/learning-curve.png") == tuned.picture.read_bytes()
    for kind in ("finetuned", "scratch"):
        history = client.get_metric_history(tuned.run_id, f"curve/{kind}/nll")
        expected = {t.labels: t.loss for t in tuned.trainings if t.kind == kind}
        assert {point.step: point.value for point in history} == pytest.approx(expected)
    assert client.get_run(tuned.run_id).data.tags["gzflow.labels_saved"] == str(tuned.curve.labels_saved)
    trained = [row["labels"] for row in finetune.table(tuned)]
    assert trained == [40, 40, 15, 15]


def test_done_again_nothing_is_done(sky, tuned):
    n_runs = len(sky.runs())
    again = sky.run(label_counts=(15,))
    assert again.reused
    assert again.run_id == tuned.run_id
    assert [t.run_id for t in again.trainings] == [t.run_id for t in tuned.trainings]
    assert again.gain == tuned.gain
    assert len(sky.runs()) == n_runs


def test_another_set_of_the_same_trainings_is_a_run_of_its_own(sky, tuned):
    client, n_runs = sky.registry.client, len(sky.runs())
    alone = sky.run(scratch=False)
    assert alone.run_id != tuned.run_id
    assert [training.run_id for training in alone.trainings] == [tuned.tuned.run_id]
    assert alone.tuned.reused
    assert (alone.curve, alone.gain) == (None, None)
    assert len(sky.runs()) == n_runs + 1
    run = client.get_run(alone.run_id)
    assert run.info.status == "FINISHED"
    assert not [key for key in run.data.metrics if key.startswith(("curve/", "labels-saved/", "test/gain-over"))]
    assert "gzflow.labels_saved" not in run.data.tags
    assert read_artifact(sky.settings, alone.run_id, "figures/learning-curve.png") is None
    assert client.get_run(tuned.tuned.run_id).data.tags["mlflow.parentRunId"] == tuned.run_id


def test_nothing_is_logged_twice_by_a_rerun(sky, tuned):
    client = sky.registry.client
    runs = [tuned.run_id, tuned.trainings[2].run_id]

    def points():
        keys = [(run, key) for run in runs for key in client.get_run(run).data.metrics]
        return {(run, key): [(p.step, p.value) for p in client.get_metric_history(run, key)] for run, key in keys}

    before = points()
    # As after a kill between the end of a run and the note that it is done.
    (tuned.trainings[2].folder / RESULT).unlink()
    (tuned.folder / RESULT).unlink()
    again = sky.run(label_counts=(15,))
    assert [again.run_id, again.trainings[2].run_id] == runs
    assert points() == before


class Killed(BaseException):
    """As a signal that an orchestrator turns into an exception."""


def test_an_interrupted_fine_tune_goes_on(sky):
    plan = finetune.plan(sky.options(config=replace_seed(9)), sky.settings)
    begun = []

    def die_in_the_second(chunk, run_id):
        begun.append(run_id)
        if len(begun) == 2:
            raise Killed
        return run_training(chunk, sky.settings, parent_run_id=run_id)

    with pytest.raises(Killed):
        finetune.run(plan, sky.settings, each=die_in_the_second)
    assert sky.registry.client.get_run(begun[0]).info.status == "KILLED"
    n_versions = len(sky.registry.client.search_model_versions("name = 'gzflow-far'"))
    # As after kill -9: the runs were begun and not written down, the first model's registration neither.
    first = Path(plan.chunks[0].folder)
    made = json.loads((first / RESULT).read_text())["run_id"]
    (first / RESULT).unlink()
    for folder in (first, Path(plan.folder)):
        noted = json.loads((folder / RUN).read_text())
        (folder / RUN).write_text(json.dumps({"key": noted["key"]}))
    # How many loader processes there are decides no result: another number goes on with the same runs.
    resumed = finetune.plan(sky.options(config=replace_seed(9).model_copy(update={"workers": 0})), sky.settings)
    summary = finetune.run(resumed, sky.settings)
    assert (summary.run_id, summary.tuned.run_id) == (begun[0], made)
    assert sky.registry.client.get_run(summary.run_id).info.status == "FINISHED"
    assert len(sky.registry.client.search_model_versions("name = 'gzflow-far'")) == n_versions
    assert not summary.tuned.reused


def replace_seed(seed: int) -> FineTuneConfig:
    return CONFIG.model_copy(update={"seed": seed, "epochs": 1, "blocks": 0})


def test_a_parent_of_unknown_origin_is_said_everywhere(sky, tmp_path, caplog):
    shutil.copytree(sky.parent.folder / "model", tmp_path, dirs_exist_ok=True)
    summary = sky.run(parent=str(tmp_path), scratch=False, config=replace_seed(5))
    assert "no run is known" in summary.tuned.guard_unknown[0]
    assert "may have seen" in summary.sentence()
    assert "partly blind" in caplog.text
    run = sky.registry.client.get_run(summary.tuned.run_id)
    assert run.data.metrics["test/guard-known"] == 0
    assert "no run is known" in run.data.tags["gzflow.guard_unknown"]
    assert summary.tuned.n_leaked == 0
    assert summary.gain is None


def test_a_training_folder_as_parent_keeps_its_galaxies_beside(sky):
    ref = finetune.find_parent(str(sky.parent.folder), sky.settings)
    assert ref.version is None
    seen = ancestry(ref, sky.settings)
    assert (len(seen.seen), seen.unknown) == (SIZES["train"] + SIZES["validation"], ())
    unrelated = replace(ref, folder=ref.folder.parent / "elsewhere" / "model")
    shutil.copytree(ref.folder, unrelated.folder)
    assert ancestry(unrelated, sky.settings).unknown
    shutil.rmtree(unrelated.folder.parent)


def test_a_lost_galaxy_table_of_the_parent_is_said(sky, monkeypatch):
    from gzflow.stages import leakage

    monkeypatch.setattr(leakage, "GALAXIES", "lost.parquet")
    (sentence,) = ancestry(sky.registry.champion("near"), sky.settings).unknown
    assert "keeps no lost.parquet" in sentence
    assert GALAXIES != "lost.parquet"


@pytest.mark.parametrize(
    ("reference", "uri"),
    [
        ("near", "models:/gzflow-near/1"),
        ("near/1", "models:/gzflow-near/1"),
        ("near@champion", "models:/gzflow-near/1"),
        ("models:/gzflow-near@champion", "models:/gzflow-near/1"),
    ],
)
def test_a_parent_goes_by_several_names(sky, reference, uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "near").mkdir()
    assert finetune.find_parent(reference, sky.settings).uri == uri


def test_what_cannot_be_fine_tuned_is_refused_before_anything_is_trained(sky, tmp_path):
    with pytest.raises(SettingsError, match=r"less than 1(.|\n)*twice(.|\n)*30 seeds"):
        sky.options(label_counts=(0, 20, 20), seeds=30)
    with pytest.raises(SettingsError, match="40 training galaxies to learn from"):
        finetune.plan(sky.options(label_counts=(20, 40)), sky.settings)
    with pytest.raises(NoChampion, match="gzflow train candels"):
        finetune.plan(sky.options(parent="candels"), sky.settings)
    for wrong in (str(tmp_path), "near or far", "near/one", "near/7"):
        with pytest.raises(TrackingError):
            finetune.plan(sky.options(parent=wrong), sky.settings)
    with pytest.raises(TrainingError, match="efficientnet_b0"):
        finetune.plan(sky.options(config=FineTuneConfig(encoder="efficientnet_b0")), sky.settings)
