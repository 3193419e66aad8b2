"""Two simulated surveys, learnt together; some of one's test galaxies are training galaxies of the other."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gzflow.errors import ModelError, SettingsError, ShardError, TrainingError
from gzflow.model.morphology import Morphology, read_spec
from gzflow.settings import Settings
from gzflow.simulation.galaxies import FIELDS, Galaxies
from gzflow.simulation.survey import SimulatedSurvey
from gzflow.stages import finetune, joint, predict, train
from gzflow.stages.finetune_options import FineTuneOptions
from gzflow.stages.import_run import import_run
from gzflow.stages.leakage import ancestry
from gzflow.tracking.registry import Registry
from gzflow.training.config import FineTuneConfig, TrainConfig

pytestmark = pytest.mark.slow

PIXELS = 32
SIZES = {"train": 24, "validation": 8, "test": 12}
N = sum(SIZES.values())
SHARED = 3
"""As many of the test galaxies of "far" are training galaxies of "near"."""
CONFIG = TrainConfig(encoder="mobilenet_v3_small", epochs=1, batch_size=16, seed=1)


@dataclass
class Lab:
    settings: Settings
    near: str
    far: str
    other: str
    summary: joint.JointSummary

    def plan(self, *surveys: str, config: TrainConfig = CONFIG) -> joint.JointPlan:
        return joint.plan(surveys or (self.far, self.near), self.settings, pixels=None, config=config)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, write_shards) -> Lab:
    root = tmp_path_factory.mktemp("joint")
    settings = Settings.load({}, home=root / "home")
    near = SimulatedSurvey.draw("decals", N, 3, pixels=PIXELS)
    others = SimulatedSurvey.draw("hubble", N, 4, pixels=PIXELS).galaxies
    columns = {name: others[name].copy() for name in FIELDS}
    for name, column in columns.items():
        column[N - SIZES["test"] :][:SHARED] = near.galaxies[name][:SHARED]
    far = SimulatedSurvey.draw("hubble", N, 4, pixels=PIXELS, galaxies=Galaxies(columns))
    other = SimulatedSurvey.draw("candels", N, 5, pixels=PIXELS)
    tomls = []
    for survey, name in ((near, "near"), (far, "far"), (other, "other")):
        tomls.append(str(survey.write(root, "http://127.0.0.1:1", name=name).toml))
        write_shards(settings, survey, tomls[-1], SIZES)
    plan = joint.plan(tomls[:2], settings, pixels=None, config=CONFIG)
    return Lab(settings, *tomls, joint.run(plan, settings, flow_run=("flow-1", "http://here/flow-1")))


def test_one_model_is_registered_for_all_and_its_share_for_each(lab: Lab) -> None:
    whole, (far, near) = lab.summary.whole, lab.summary.shares
    assert [one.model for one in (whole, far, near)] == ["gzflow-joint-far-near", "gzflow-far", "gzflow-near"]
    assert {one.alias for one in (whole, far, near)} == {"champion"}
    registry = Registry(lab.settings)
    assert read_spec(registry.champion("joint-far-near").folder).surveys == ("far", "near")
    assert read_spec(registry.champion("far").folder).surveys == ("far",)
    assert np.isfinite([one.loss for one in (whole, far, near)]).all()
    assert lab.summary.sentence().count("constant Dirichlet") == 3
    assert [row["survey"] for row in joint.table(lab.summary)] == ["far", "near", "joint-far-near"]


def test_each_survey_has_its_own_losses_in_the_joint_run_and_a_run_below_it(lab: Lab) -> None:
    client = Registry(lab.settings).client
    whole = client.get_run(lab.summary.whole.run_id).data
    both = [whole.metrics[f"val/loss/{survey}"] for survey in ("far", "near")]
    assert np.mean(both) == pytest.approx(whole.metrics["val/loss"], rel=1e-5)
    for share in lab.summary.shares:
        run = client.get_run(share.run_id).data
        assert run.tags["mlflow.parentRunId"] == lab.summary.whole.run_id
        assert run.metrics["val/loss"] == pytest.approx(whole.metrics[f"val/loss/{share.survey}"])
        assert {"test/nll", "test/nll-constant", "test/coverage90", "best/val-loss"} <= set(run.metrics)


def test_galaxies_that_another_survey_was_learnt_from_are_left_out_of_the_scores(lab: Lab) -> None:
    far, near = lab.summary.shares
    assert (far.n_leaked, near.n_leaked) == (SHARED, 0)
    assert far.n_test == SIZES["test"] - SHARED
    # Also later, when anybody evaluates the version.
    seen = ancestry(Registry(lab.settings).champion("far"), lab.settings).seen
    assert len(seen) == 2 * (SIZES["train"] + SIZES["validation"])


def test_the_same_surveys_in_any_order_are_the_same_training(lab: Lab) -> None:
    again = joint.run(lab.plan(lab.near, lab.far), lab.settings)
    assert again.whole.reused
    assert all(share.reused for share in again.shares)
    assert [one.run_id for one in again.shares] == [one.run_id for one in lab.summary.shares]


def test_what_was_killed_between_training_and_parting_goes_on(lab: Lab) -> None:
    plan = lab.plan()
    folder = Path(plan.shares[0].folder)
    wanted = (folder / "model" / "model.safetensors").read_bytes()
    for name in ("result.json", "training.json", "model/model.json"):
        (folder / name).unlink()
    again = joint.run(plan, lab.settings)
    assert [share.reused for share in again.shares] == [False, True]
    assert again.shares[0].run_id == lab.summary.shares[0].run_id
    assert again.shares[0].version == lab.summary.shares[0].version
    assert (folder / "model" / "model.safetensors").read_bytes() == wanted


def test_a_survey_is_predicted_by_its_head_whichever_model_is_named(lab: Lab) -> None:
    found = []
    for model in (None, "models:/gzflow-joint-far-near/1"):
        plan = predict.plan(predict.PredictOptions(lab.near, model=model, samples=3, fresh=True), lab.settings)
        for chunk in plan.chunks:
            predict.run_chunk(chunk, lab.settings)
        found.append(pq.read_table(plan.chunks[0].part))
        assert found[-1].schema.metadata[b"learnt_from"] == b"near, far"
    assert found[0].column_names == found[1].column_names
    for name in found[0].column_names:
        if name.endswith("_fraction"):
            np.testing.assert_allclose(found[0][name].to_numpy(), found[1][name].to_numpy(), rtol=1e-4)
    with pytest.raises(ModelError, match="no head for 'other'"):
        predict.plan(predict.PredictOptions(lab.other, model="models:/gzflow-joint-far-near/1"), lab.settings)


def test_another_survey_is_fine_tuned_from_the_joint_model(lab: Lab) -> None:
    config = FineTuneConfig(epochs=1, batch_size=16, blocks=0)
    options = FineTuneOptions(lab.other, parent="joint-far-near", config=config, scratch=False)
    tuned = finetune.run(finetune.plan(options, lab.settings), lab.settings).tuned
    spec = read_spec(tuned.folder / "model")
    assert spec.surveys == ("other",)
    assert spec.learnt_from == ("other", "far", "near")
    assert tuned.guard_unknown == ()
    parent = Morphology.load(lab.summary.whole.folder / "model").encoder.state_dict()
    child = Morphology.load(tuned.folder / "model").encoder.state_dict()
    assert all((parent[name] == child[name]).all() for name in parent)


def test_the_whole_is_not_imported_as_one_survey(lab: Lab) -> None:
    with pytest.raises(TrainingError, match="one by one"):
        import_run(lab.summary.whole.folder, lab.settings)


def test_a_share_is_imported_and_stays_apart_from_the_survey_alone(lab: Lab, tmp_path: Path) -> None:
    share, there = lab.summary.shares[0], Settings.load({}, home=tmp_path / "there")
    alone = train.run_chunk(train.plan(lab.far, lab.settings, pixels=None, config=CONFIG), lab.settings)
    imported = import_run(share.folder, there)
    assert (imported.kind, imported.loss, imported.n_leaked) == ("joint", share.loss, SHARED)
    assert import_run(share.folder, there).reused
    other = import_run(alone.folder, there)
    assert (other.reused, other.version, other.loss) == (False, "2", alone.loss)
    # Where it was trained it is there already.
    again = import_run(share.folder, lab.settings)
    assert (again.reused, again.run_id) == (True, share.run_id)


def test_the_guard_says_that_it_does_not_see_what_an_unscored_share_learnt_with(lab: Lab, tmp_path: Path) -> None:
    share = lab.summary.shares[0]
    node = tmp_path / "node"
    shutil.copytree(share.folder, node)
    (node / "result.json").unlink()
    shards = Path(lab.plan().shares[0].shards)
    imported = import_run(node, Settings.load({}, home=tmp_path / "there"), shards=shards)
    assert imported.kind == "joint"
    assert "learnt together are not here" in imported.guard_unknown[0]


def test_what_cannot_be_learnt_together_is_said_before_anything_starts(lab: Lab) -> None:
    with pytest.raises(ShardError, match="stands twice"):
        lab.plan(lab.near, lab.near)
    with pytest.raises(SettingsError, match="3 members"):
        lab.plan(config=CONFIG.model_copy(update={"members": 3}))
    with pytest.raises(TrainingError, match="no train galaxy that is used has votes"):
        lab.plan(config=CONFIG.model_copy(update={"labels": 1}))
