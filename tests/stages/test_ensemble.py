"""Several seeds, one model: trained as runs below one, registered as one version, used as any other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from gzflow.errors import ModelError, SettingsError
from gzflow.model.ensemble import member
from gzflow.model.morphology import Morphology, read_spec
from gzflow.settings import Settings
from gzflow.simulation.survey import SimulatedSurvey
from gzflow.stages import ensemble, evaluate, finetune, predict, promote, train
from gzflow.stages.finetune_options import FineTuneOptions
from gzflow.stages.import_run import import_run
from gzflow.stages.run_file import RUN
from gzflow.stages.train_summary import RESULT, TrainSummary
from gzflow.stages.training_run import run_training
from gzflow.tracking.registry import Registry
from gzflow.training.config import FineTuneConfig, TrainConfig

CONFIG = TrainConfig(encoder="mobilenet_v3_small", epochs=1, batch_size=16, seed=1)
ENSEMBLE = CONFIG.model_copy(update={"members": 2, "epochs": 1})
SIZES = {"train": 40, "validation": 10, "test": 14}


class Home:
    """Shards of a small sky, and what is trained on them."""

    def __init__(self, root: Path, write_shards) -> None:
        self.settings = Settings.load({}, home=root / "home")
        survey = SimulatedSurvey.draw("decals", sum(SIZES.values()), 3, pixels=32)
        self.toml = str(survey.write(root / "simulated", "http://127.0.0.1:1", name="sim").toml)
        write_shards(self.settings, survey, self.toml, SIZES)
        self.registry = Registry(self.settings)

    def train(self, config: TrainConfig) -> TrainSummary:
        chunk = train.plan(self.toml, self.settings, pixels=None, config=config)
        if config.members == 1:
            return train.run_chunk(chunk, self.settings)
        return ensemble.run(ensemble.plan(chunk, self.settings, pixels=None), self.settings, flow_run=("f", "http://f"))

    def runs(self):
        experiment = self.registry.client.get_experiment_by_name("gzflow-sim").experiment_id
        return {run.info.run_id: run for run in self.registry.client.search_runs([experiment])}


@pytest.fixture(scope="module")
def home(write_shards, tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("ensemble"), write_shards)


@pytest.fixture(scope="module")
def second(home: Home) -> TrainSummary:
    """What will be the second member, trained by itself before."""
    return home.train(CONFIG.model_copy(update={"seed": 2}))


@pytest.fixture(scope="module")
def summary(home: Home, second: TrainSummary) -> TrainSummary:
    return home.train(ENSEMBLE)


def test_one_version_with_a_run_a_seed_below_it(home: Home, second, summary) -> None:
    assert (summary.version, summary.alias, summary.members) == ("2", "challenger", 2)
    assert "an ensemble of 2" in summary.sentence()
    below = [run for run in home.runs().values() if run.data.tags.get("mlflow.parentRunId") == summary.run_id]
    assert [run.data.tags["gzflow.kind"] for run in below] == ["member"]
    assert below[0].data.params["seed"] == "1"
    assert "mlflow.parentRunId" not in home.runs()[second.run_id].data.tags
    tags = home.runs()[summary.run_id].data.tags
    assert (tags["gzflow.kind"], tags["prefect.flow_run_id"]) == ("ensemble", "f")
    spec = read_spec(home.registry.resolve("2", "sim").folder)
    members = [read_spec(Path(row) / "model").training_fingerprint for row in (_folder(home, 1), second.folder)]
    assert spec.notes["members"] == ", ".join(str(one) for one in members)
    assert (spec.members, spec.training["members"], spec.training["seed"]) == (2, 2, 1)


def _folder(home: Home, seed: int) -> str:
    config = CONFIG.model_copy(update={"seed": seed})
    return train.plan(home.toml, home.settings, pixels=None, config=config).folder


def test_single_members_stand_beside_it(home: Home, second, summary) -> None:
    metrics = home.runs()[summary.run_id].data.metrics
    assert metrics["ensemble/members"] == 2
    assert metrics["ensemble/nll-ensemble"] == pytest.approx(metrics["test/nll"])
    assert metrics["ensemble/coverage90-ensemble"] == pytest.approx(metrics["test/coverage90"])
    first = json.loads((Path(_folder(home, 1)) / RESULT).read_text())
    assert metrics["ensemble/nll-dropout"] == pytest.approx((first["loss"] + second.loss) / 2)
    # The mixture of equal parts is never worse than its parts' mean (Jensen).
    assert metrics["ensemble/nll-passes"] <= metrics["ensemble/nll-one-pass"]
    assert metrics["ensemble/gain"] == pytest.approx(metrics["ensemble/nll-dropout"] - metrics["test/nll"])
    rows = ensemble.table(summary)
    assert [(row["prediction"], row["seed"]) for row in rows] == [
        ("one pass, no dropout", "1"), ("one pass, no dropout", "2"), ("dropout samples", "1"),
        ("dropout samples", "2"), ("one pass of each member", "all"), ("the ensemble", "all"),
    ]  # fmt: skip
    assert rows[3]["run"] == second.run_id
    assert rows[3]["test NLL"] == pytest.approx(second.loss, abs=1e-4)
    assert ensemble.table(second) == []


def test_trained_again_nothing_is_done(home: Home, summary) -> None:
    n = len(home.runs())
    again = home.train(ENSEMBLE)
    assert again.reused
    assert (again.run_id, again.version) == (summary.run_id, summary.version)
    # A member by itself is registered then, with the run that it had.
    alone = home.train(CONFIG)
    assert alone.version == "3"
    assert len(home.runs()) == n
    assert home.train(ENSEMBLE).reused


def test_its_catalogue_is_the_mixture_of_its_members(home: Home, summary) -> None:
    options = predict.PredictOptions(home.toml, model="2", samples=4, keep_concentrations=True)
    plan = predict.plan(options, home.settings)
    for chunk in plan.chunks:
        predict.run_chunk(chunk, home.settings)
    test = next(chunk for chunk in plan.chunks if "test" in chunk.part)
    table = pq.read_table(test.part)
    parts = []
    for seed, folder in ((42, _folder(home, 1)), (43, _folder(home, 2))):
        predictor = predict.Predictor(Morphology.load(Path(folder) / "model"))
        parts.append(predictor.predict(predict.ShardReader(Path(test.shard)), n_samples=2, seed=seed).concentrations)
    both = np.concatenate(parts, axis=1)
    for column, name in enumerate(read_spec(plan_folder(plan)).tree.answers):
        kept = np.stack(table.column(f"{name}_concentrations").to_pylist())
        np.testing.assert_allclose(kept, both[:, :, column], rtol=1e-4)


def test_fewer_samples_than_members_are_refused_before_anything_is_predicted(home: Home, summary) -> None:
    before = sorted(home.settings.predictions("sim").rglob("*"))
    with pytest.raises(ModelError, match=r"1 sample is asked of an ensemble of 2 members(.|\n)*--samples 20"):
        predict.plan(predict.PredictOptions(home.toml, model="2", samples=1), home.settings)
    with pytest.raises(ModelError, match="1 sample is"):
        evaluate.run(evaluate.EvaluateOptions(home.toml, model="2", samples=1), home.settings)
    assert sorted(home.settings.predictions("sim").rglob("*")) == before


def test_its_support_looks_at_the_features_of_all_members(home: Home, summary) -> None:
    model = Morphology.load(home.registry.resolve("2", "sim").folder)
    first = Morphology.load(Path(_folder(home, 1)) / "model")
    assert model.support is not None
    assert first.support is not None
    assert len(model.support.features.centre) == 2 * len(first.support.features.centre)
    assert len(model.support.least) == SIZES["validation"]
    # What pictures look like is the same to all members.
    assert torch.equal(model.support.quantiles, first.support.quantiles)


def plan_folder(plan: predict.PredictPlan) -> Path:
    return Path(plan.chunks[0].model_folder)


@pytest.mark.slow
def test_it_is_served_evaluated_and_compared(home: Home, summary) -> None:
    import mlflow

    mlflow.set_tracking_uri(home.settings.tracking_uri)
    loaded = mlflow.pyfunc.load_model("models:/gzflow-sim/2")
    served = loaded.predict(np.zeros((2, 32, 32, 3), np.uint8), params={"n_samples": 4})
    assert len(served) == 2
    found = evaluate.run(evaluate.EvaluateOptions(home.toml, model="2"), home.settings)
    assert found.report.is_file()
    decided = promote.promote(home.toml, home.settings, force=True, challenger="2")
    assert decided.promoted
    assert home.registry.champion("sim").version == "2"


@pytest.mark.slow
def test_a_fine_tune_takes_its_first_member(home: Home, summary) -> None:
    options = FineTuneOptions(
        home.toml, "sim/2", config=FineTuneConfig(epochs=1, batch_size=16, blocks=0), scratch=False
    )
    tuned = finetune.run(finetune.plan(options, home.settings), home.settings).tuned
    model, parent = Morphology.load(tuned.folder / "model"), Morphology.load(summary.folder / "model")
    first = member(parent, 0).encoder.state_dict()
    assert all(bool((value == first[name]).all()) for name, value in model.encoder.state_dict().items())
    assert model.spec.members == 1
    assert model.spec.notes["parent"] == parent.spec.training_fingerprint
    assert model.spec.notes["parent_member"] == "the first of 2"


@pytest.mark.slow
def test_it_is_imported_elsewhere(home: Home, summary, tmp_path: Path) -> None:
    there = Settings.load({}, home=tmp_path / "there")
    here = import_run(summary.folder, there)
    assert (here.alias, here.members, here.loss, here.kind) == ("champion", 2, summary.loss, "ensemble")
    folder = Registry(there).champion("sim").folder
    assert (folder / "model.safetensors").read_bytes() == (summary.folder / "model" / "model.safetensors").read_bytes()
    assert import_run(summary.folder, there).reused


class Killed(BaseException):
    """As a signal that an orchestrator turns into an exception."""


@pytest.mark.slow
def test_an_interrupted_ensemble_goes_on(home: Home, summary) -> None:
    config = ENSEMBLE.model_copy(update={"seed": 2})
    planned = ensemble.plan(
        train.plan(home.toml, home.settings, pixels=None, config=config), home.settings, pixels=None
    )
    assert [chunk.config.seed for chunk in planned.members] == [2, 3]
    begun: list[str] = []

    def die_in_the_second(chunk, run_id):
        begun.append(run_id)
        if len(begun) == 2:
            raise Killed
        return run_training(chunk, home.settings, parent_run_id=run_id)

    with pytest.raises(Killed):
        ensemble.run(planned, home.settings, each=die_in_the_second)
    n_versions = len(home.registry.client.search_model_versions("name = 'gzflow-sim'"))
    done = ensemble.run(planned, home.settings)
    assert done.run_id == begun[0]
    # As after kill -9 between the registration and the note that it is done.
    folder = Path(planned.whole.folder)
    noted = json.loads((folder / RUN).read_text())
    (folder / RUN).write_text(json.dumps({"key": noted["key"]}))
    (folder / RESULT).unlink()
    before = (folder / "model" / "model.safetensors").read_bytes()
    again = ensemble.run(planned, home.settings)
    assert replace(again, reused=False) == replace(done, reused=False)
    assert (folder / "model" / "model.safetensors").read_bytes() == before
    assert len(home.registry.client.search_model_versions("name = 'gzflow-sim'")) == n_versions + 1


def test_labels_by_seed_make_no_ensemble(home: Home) -> None:
    chunk = train.plan(home.toml, home.settings, pixels=None, config=ENSEMBLE.model_copy(update={"labels": 20}))
    with pytest.raises(SettingsError, match="learn from different galaxies"):
        ensemble.plan(chunk, home.settings, pixels=None)
    enough = replace(chunk, config=ENSEMBLE.model_copy(update={"labels": 40}))
    assert len(ensemble.plan(enough, home.settings, pixels=None).members) == 2


def test_the_mean_history_is_as_long_as_all_learn() -> None:
    def epoch(i: int, loss: float) -> dict[str, object]:
        return {
            "epoch": i, "train_loss": loss, "validation_loss": loss, "train_nll": {"a": loss},
            "validation_nll": {"a": 2 * loss}, "lr": 0.1, "seconds": 1.0, "images_per_s": 10.0, "best": True,
        }  # fmt: skip

    history = ensemble.mean_history([[epoch(0, 3), epoch(1, 1), epoch(2, 0)], [epoch(0, 1), epoch(1, 4)]])
    assert [one["validation_loss"] for one in history] == [2, 2.5]
    assert [one["best"] for one in history] == [True, False]
    assert (history[1]["validation_nll"], history[0]["seconds"]) == ({"a": 5.0}, 2.0)
