from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gzflow.errors import TrainingError
from gzflow.model.losses import constant_dirichlet, dirichlet_multinomial_nll
from gzflow.model.morphology import Morphology
from gzflow.prediction.predict import predict_shard
from gzflow.shards.reader import ShardSet
from gzflow.training.config import TrainConfig
from gzflow.training.metrics import EpochMetrics
from gzflow.training.run import Run
from gzflow.training.start import new_model
from gzflow.training.trainer import train

pytestmark = pytest.mark.usefixtures("one_thread")

FAST = TrainConfig(encoder="mobilenet_v3_small", epochs=2, batch_size=16)
SCRIPT = Path(__file__).with_name("train_toy.py")


MakeSet = Callable[..., ShardSet]


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def losses(history: list[dict[str, object]]) -> list[object]:
    return [(epoch["train_loss"], epoch["validation_loss"], epoch["train_nll"], epoch["lr"]) for epoch in history]


def test_result_is_complete_and_reads_back(toy_set: ShardSet, tmp_path: Path) -> None:
    seen: list[EpochMetrics] = []
    before = torch.get_rng_state()
    result = train(toy_set, FAST, tmp_path, on_epoch=seen.append)
    assert torch.equal(torch.get_rng_state(), before)
    assert result.finished
    assert [epoch.to_dict() for epoch in seen] == result.history
    assert [epoch.epoch for epoch in seen] == [0, 1]
    assert set(seen[0].train_nll) == {"shape", "bar"}
    assert seen[0].images_per_s > 0
    assert seen[1].lr == pytest.approx(FAST.lr * FAST.final_lr)
    assert result.config.average != "auto"
    assert result.model.spec.training_fingerprint is not None
    assert toy_set.fingerprint in result.model.spec.training_fingerprint
    loaded = Morphology.load(tmp_path / "model")
    images = toy_set.readers("test")[0].images(slice(None))
    with torch.no_grad():
        assert torch.equal(loaded(images), result.model(images))


def test_reported_validation_loss_is_that_of_the_saved_model(toy_set: ShardSet, tmp_path: Path) -> None:
    """The best epoch's weights, evaluated on the plain central crop without dropout: not the last, not augmented."""
    result = train(toy_set, FAST.model_copy(update={"epochs": 3, "lr": 5e-3, "head_epochs": 0}), tmp_path)
    images = np.concatenate([reader.images(slice(None)) for reader in toy_set.readers("validation")])
    votes = torch.from_numpy(toy_set.votes("validation"))
    with torch.no_grad():
        nll = dirichlet_multinomial_nll(votes, result.model(images), toy_set.tree)
    best = result.history[result.best_epoch]
    assert float(nll.sum(1).mean()) == pytest.approx(best["validation_loss"], rel=1e-5)
    assert best["validation_loss"] == min(epoch["validation_loss"] for epoch in result.history)
    assert float(nll[:, 0].mean()) == pytest.approx(best["validation_nll"]["shape"], rel=1e-5)


def test_baseline_is_the_constant_dirichlet_of_the_training_votes(toy_set: ShardSet, tmp_path: Path) -> None:
    result = train(toy_set, FAST.model_copy(update={"epochs": 1}), tmp_path)
    votes = torch.from_numpy(toy_set.votes("validation"))
    constant = torch.from_numpy(constant_dirichlet(toy_set.votes("train"), toy_set.tree)).expand(len(votes), -1)
    nll = dirichlet_multinomial_nll(votes, constant, toy_set.tree)
    assert result.baseline["loss"] == pytest.approx(float(nll.sum(1).mean()))
    assert set(result.baseline) == {"loss", "shape", "bar"}


def test_same_seed_same_bits_another_seed_another_model(toy_set: ShardSet, tmp_path: Path) -> None:
    one = train(toy_set, FAST, tmp_path / "one")
    torch.manual_seed(99)
    two = train(toy_set, FAST.model_copy(update={"workers": 1}), tmp_path / "two")
    three = train(toy_set, FAST.model_copy(update={"seed": 43}), tmp_path / "three")
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    assert losses(one.history) == losses(two.history)
    assert losses(one.history) != losses(three.history)


def test_killed_within_an_epoch_the_run_goes_on_to_the_same_bits(toy_set: ShardSet, tmp_path: Path) -> None:
    config = FAST.model_copy(update={"epochs": 4})
    command = [sys.executable, str(SCRIPT), str(toy_set.folder), str(tmp_path / "broken"), config.model_dump_json()]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
    resumed: list[int] = []
    train(toy_set, config, tmp_path / "broken", on_epoch=lambda epoch: resumed.append(epoch.epoch))
    train(toy_set, config, tmp_path / "whole")
    assert resumed == [2, 3]
    assert weights(tmp_path / "whole") == weights(tmp_path / "broken")
    one, two = (json.loads((tmp_path / name / "training.json").read_text()) for name in ("whole", "broken"))
    assert losses(one["history"]) == losses(two["history"])
    assert one["finished"]
    assert two["finished"]


def test_stopping_keeps_the_finished_epochs_and_resumes(toy_set: ShardSet, tmp_path: Path) -> None:
    config = FAST.model_copy(update={"epochs": 3})
    whole = train(toy_set, config, tmp_path / "whole")
    batches = 0

    def stop() -> bool:
        nonlocal batches
        batches += 1
        return batches > 9  # in the second epoch of six batches

    part = train(toy_set, config, tmp_path / "part", stop=stop)
    assert not part.finished
    assert len(part.history) == 1
    assert losses(part.history) == losses(whole.history[:1])
    rest = train(toy_set, config, tmp_path / "part")
    assert rest.finished
    assert losses(rest.history) == losses(whole.history)
    assert weights(tmp_path / "part") == weights(tmp_path / "whole")


def test_stopped_before_the_first_epoch(toy_set: ShardSet, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="stopped before its first epoch"):
        train(toy_set, FAST, tmp_path, stop=lambda: True)


def test_a_finished_run_is_returned_without_training(toy_set: ShardSet, tmp_path: Path) -> None:
    config = FAST.model_copy(update={"epochs": 1})
    first = train(toy_set, config, tmp_path)
    again = train(toy_set, config, tmp_path, on_epoch=lambda _: pytest.fail("it trained again"))
    assert again.history == first.history
    assert again.baseline == first.baseline


def test_another_run_in_the_folder_is_refused_with_the_differences(toy_set: ShardSet, tmp_path: Path) -> None:
    config = FAST.model_copy(update={"epochs": 1})
    train(toy_set, config, tmp_path)
    with pytest.raises(TrainingError, match=r"lr: 0.001 there, 0.002 now(.|\n)*resume=False"):
        train(toy_set, config.model_copy(update={"lr": 2e-3}), tmp_path)
    fresh = train(toy_set, config.model_copy(update={"lr": 2e-3}), tmp_path, resume=False)
    assert fresh.config.lr == 2e-3


def test_patience_ends_training_and_the_best_epoch_is_kept(toy_set: ShardSet, tmp_path: Path) -> None:
    # A rate that only makes things worse, without the cosine that would calm it.
    config = FAST.model_copy(
        update={"epochs": 20, "patience": 2, "lr": 0.3, "final_lr": 1.0, "warmup": 0.0, "clip": 100.0, "average": 0.0}
    )
    result = train(toy_set, config, tmp_path)
    assert result.finished
    assert len(result.history) == result.best_epoch + 3 < 20
    assert json.loads((tmp_path / "training.json").read_text())["best_epoch"] == result.best_epoch


def test_checkpoints_hold_no_pickled_objects(toy_set: ShardSet, tmp_path: Path) -> None:
    train(toy_set, FAST.model_copy(update={"epochs": 1}), tmp_path)
    state = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)
    assert {"state_dict", "optimizer_states", "lr_schedulers", "loops", "history"} <= set(state)


def test_a_checkpoint_that_is_a_pickle_is_refused(toy_set: ShardSet, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "it-was-run",)

    run = tmp_path / "run"
    with pytest.raises(TrainingError, match="before its first epoch"):
        train(toy_set, FAST, run, stop=lambda: True)
    torch.save({"history": Bomb()}, run / "checkpoint.ckpt")
    with pytest.raises(pickle.UnpicklingError, match="weights_only"):
        train(toy_set, FAST, run)
    assert not (tmp_path / "it-was-run").exists()


def test_one_galaxy_is_enough_to_train_on(make_set: MakeSet, tmp_path: Path) -> None:
    result = train(make_set(tmp_path / "shards", {"train": 1, "validation": 1}, voters=20), FAST, tmp_path / "run")
    assert np.isfinite(result.history[-1]["validation_loss"])


@pytest.mark.parametrize(
    ("counts", "voters", "said"),
    [
        ({"train": 8}, 20, "validation split has no galaxy"),
        ({"test": 5}, 20, "train split has no galaxy(.|\n)*validation split has no galaxy"),
        ({"train": 8, "validation": 4}, 0, "train split has 8 galaxies, and nobody voted on any"),
    ],
)
def test_nothing_to_learn_from(
    make_set: MakeSet, tmp_path: Path, counts: dict[str, int], voters: int, said: str
) -> None:
    shards = make_set(tmp_path / "shards", counts, voters=voters)
    with pytest.raises(TrainingError, match=said):
        train(shards, FAST, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_two_galaxies_are_enough_to_run(make_set: MakeSet, tmp_path: Path) -> None:
    shards = make_set(tmp_path / "shards", {"train": 2, "validation": 1}, pixels=32)
    assert train(shards, FAST.model_copy(update={"epochs": 1}), tmp_path / "run").finished


def test_the_gradient_is_clipped(toy_set: ShardSet, tmp_path: Path) -> None:
    """AdamW divides by the gradient's size plus 1e-8: below that it hardly moves."""
    still = FAST.model_copy(update={"epochs": 1, "weight_decay": 0.0, "average": 0.0, "head_epochs": 0})
    moved = {}
    for clip in (1e-13, 0.3):
        run = Run.settle(toy_set, still.model_copy(update={"clip": clip}), None)
        start = dict(new_model(run).named_parameters())
        end = dict(train(toy_set, run.config, tmp_path / str(clip)).model.named_parameters())
        moved[clip] = max((end[name] - start[name]).detach().abs().max().item() for name in start)
    assert moved[1e-13] < 1e-5 < 1e-4 < moved[0.3]


def test_mixed_precision_learns_much_the_same_and_keeps_float32_weights(toy_set: ShardSet, tmp_path: Path) -> None:
    once = FAST.model_copy(update={"epochs": 1, "precision": "32-true"})
    plain = train(toy_set, once, tmp_path / "plain")
    mixed = train(toy_set, once.model_copy(update={"precision": "bf16-mixed"}), tmp_path / "mixed")
    assert {parameter.dtype for parameter in mixed.model.parameters()} == {torch.float32}
    (exact,), (rounded,) = plain.history, mixed.history
    assert rounded["train_loss"] != exact["train_loss"]
    assert rounded["train_loss"] == pytest.approx(exact["train_loss"], rel=0.02)


@pytest.mark.slow
def test_it_learns_to_tell_round_from_long_galaxies(make_set: MakeSet, tmp_path: Path) -> None:
    shards = make_set(tmp_path / "shards", {"train": 500, "validation": 200}, pixels=32)
    result = train(shards, TrainConfig(encoder="resnet18", epochs=8), tmp_path / "run")
    best = result.history[result.best_epoch]
    assert best["validation_nll"]["shape"] < result.baseline["shape"] - 1.0


def test_one_vote_a_galaxy_is_said_and_kept_with_the_model(
    make_set: MakeSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counts = {"train": 24, "validation": 6, "test": 6}
    alone = make_set(tmp_path / "alone", counts, voters=1)
    result = train(alone, FAST, tmp_path / "run")
    assert result.model.spec.unidentified == ("shape", "bar")
    assert "no galaxy has more than one vote" in caplog.text
    assert Morphology.load(result.folder).spec.unidentified == ("shape", "bar")
    part = predict_shard(result.model, next(iter(alone.readers("test"))), n_samples=2)
    assert part.unidentified == ("shape", "bar")
