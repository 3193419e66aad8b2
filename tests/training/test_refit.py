from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gzflow.errors import ModelError, TrainingError
from gzflow.model import morphology
from gzflow.model.losses import dirichlet_multinomial_nll
from gzflow.model.morphology import Morphology
from gzflow.shards.reader import ShardSet
from gzflow.training import result as result_module
from gzflow.training.config import TrainConfig
from gzflow.training.description import DESCRIPTION
from gzflow.training.folder import CHECKPOINT
from gzflow.training.result import conclude, load_result
from gzflow.training.trainer import train

pytestmark = pytest.mark.usefixtures("one_thread")

ONE_EPOCH = TrainConfig(encoder="resnet18", epochs=1, batch_size=16)


class Killed(BaseException):
    """The process ends here."""


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return Morphology.load(folder).state_dict()


@pytest.fixture(scope="module")
def without(toy_set: ShardSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(toy_set, ONE_EPOCH.model_copy(update={"head_epochs": 0}), tmp_path_factory.mktemp("without")).folder


@pytest.fixture(scope="module")
def folder(toy_set: ShardSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refitted")
    train(toy_set, ONE_EPOCH, folder)
    return folder


def test_the_head_alone_changes_and_the_reported_loss_is_that_of_the_saved_model(
    toy_set: ShardSet, folder: Path, without: Path
) -> None:
    before, after = weights(without), weights(folder / "model")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.linear.weight", "head.linear.bias"}
    result = load_result(folder)
    assert result.refit is not None
    assert result.refit.loss < result.refit.loss_before
    best = result.history[result.best_epoch]
    assert result.refit.loss_before == pytest.approx(best["validation_loss"], rel=1e-5)
    images = np.concatenate([reader.images(slice(None)) for reader in toy_set.readers("validation")])
    votes = torch.from_numpy(toy_set.votes("validation"))
    with torch.no_grad():
        nll = dirichlet_multinomial_nll(votes, result.model(images), toy_set.tree)
    assert result.refit.loss == pytest.approx(float(nll.sum(1).mean()), rel=1e-5)


def test_a_head_that_gets_no_better_stays(toy_set: ShardSet, tmp_path: Path, without: Path, monkeypatch) -> None:
    monkeypatch.setattr("gzflow.training.refit._LR", 1e4)
    result = train(toy_set, ONE_EPOCH.model_copy(update={"head_epochs": 2}), tmp_path)
    assert result.refit is not None
    assert result.refit.epochs == 0
    assert result.refit.loss == result.refit.loss_before
    before, after = weights(without), weights(result.folder)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("dies_at", ["between the files of the model", "after the model"])
def test_killed_while_it_is_completed_the_run_ends_the_same(
    toy_set: ShardSet, folder: Path, without: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    def kill(*_: object) -> None:
        raise Killed

    completes = {
        "between the files of the model": (morphology, "write_json"),
        "after the model": (result_module, "write_json"),
    }
    module, name = completes[dies_at]
    support = result_module.fit_support

    def then_kill(*given: object) -> object:
        monkeypatch.setattr(module, name, kill)
        return support(*given)

    with monkeypatch.context() as patch:
        patch.setattr(result_module, "fit_support", then_kill)
        with pytest.raises(Killed):
            train(toy_set, ONE_EPOCH, tmp_path)
    monkeypatch.undo()
    if dies_at == "between the files of the model":
        with pytest.raises(ModelError):
            Morphology.load(tmp_path / "model")
    stopped, best = conclude(toy_set, ONE_EPOCH, tmp_path, finished=False), weights(without)
    assert all(torch.equal(best[name], tensor) for name, tensor in stopped.model.state_dict().items())
    result = train(toy_set, ONE_EPOCH, tmp_path)
    assert result.finished
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in folder.iterdir())
    whole, again = weights(folder / "model"), weights(result.folder)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_stopped_while_the_head_learns_the_run_goes_on_later(toy_set: ShardSet, folder: Path, tmp_path: Path) -> None:
    epochs: list[object] = []
    asked = iter(range(10**6))

    def stop() -> bool:
        # The epoch is over; the head has had some of its batches.
        return len(epochs) == ONE_EPOCH.epochs and next(asked) > 12

    part = train(toy_set, ONE_EPOCH, tmp_path, on_epoch=epochs.append, stop=stop)
    assert not part.finished
    rest = train(toy_set, ONE_EPOCH, tmp_path)
    assert rest.finished
    assert rest.refit == load_result(folder).refit
    whole, again = weights(folder / "model"), weights(rest.folder)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_what_an_earlier_run_had_set_aside_is_no_part_of_the_next_one(
    toy_set: ShardSet, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> None:
        raise Killed

    other = ONE_EPOCH.model_copy(update={"seed": 1})
    monkeypatch.setattr(result_module, "fit_support", kill)
    with pytest.raises(Killed):
        train(toy_set, other, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("gzflow.training.folder.shutil.rmtree", kill)
        with pytest.raises(Killed):
            train(toy_set, other, tmp_path, resume=False)
    monkeypatch.undo()
    assert not (tmp_path / CHECKPOINT).exists()
    whole, again = weights(folder / "model"), weights(train(toy_set, ONE_EPOCH, tmp_path).folder)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_folder_of_before_is_said_to_hold_a_head_that_was_not_trained_once_more(
    toy_set: ShardSet, folder: Path, tmp_path: Path
) -> None:
    description = json.loads((folder / DESCRIPTION).read_text("utf-8"))
    del description["config"]["head_epochs"]
    (tmp_path / DESCRIPTION).write_text(json.dumps(description | {"fingerprint": "0123456789abcdef"}), "utf-8")
    with pytest.raises(TrainingError, match="head_epochs: 0 there, 20 now"):
        train(toy_set, ONE_EPOCH, tmp_path)
