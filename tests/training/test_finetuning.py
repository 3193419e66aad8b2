"""Fine-tuning, each peer's bug among the tests: rates squared, statistics that move in frozen blocks, a head without
weight decay, the last weights instead of the best."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from gzflow.errors import TrainingError
from gzflow.model.blocks import encoder_blocks
from gzflow.model.losses import constant_dirichlet, dirichlet_multinomial_nll
from gzflow.model.morphology import Morphology, read_fingerprint, read_spec
from gzflow.model.spec import ModelSpec, SurveyTree
from gzflow.recipe import ImageRecipe
from gzflow.shards.header import ShardHeader
from gzflow.shards.reader import ShardSet
from gzflow.shards.writer import begin_set, write_manifest, write_shard
from gzflow.training.config import FineTuneConfig, TrainConfig
from gzflow.training.data import channel_statistics, training_rows
from gzflow.training.finetuning import Parent
from gzflow.training.fit import Fit
from gzflow.training.result import TrainResult
from gzflow.training.trainer import train
from gzflow.tree import DecisionTree, Question

MakeSet = Callable[..., ShardSet]
pytestmark = pytest.mark.usefixtures("one_thread")

SCRATCH = TrainConfig(encoder="mobilenet_v3_small", epochs=2, batch_size=16)
FAST = FineTuneConfig(epochs=2, batch_size=16, blocks=3)
OTHER = DecisionTree((Question("long", ("yes", "no")), Question("odd", ("yes", "no", "maybe"), ("long=no",))))
SCRIPT = Path(__file__).with_name("train_toy.py")


@pytest.fixture(scope="module")
def parent(toy_set: ShardSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(toy_set, SCRATCH, tmp_path_factory.mktemp("parent")).folder


def other_survey(folder: Path, like: ShardSet, *, channels: str = "RGB", bands: tuple[str, ...] = ()) -> ShardSet:
    """The same galaxies, brighter, with another tree's votes."""
    begin_set(folder)
    entries = []
    rng = np.random.default_rng(5)
    for split in ("train", "validation", "test"):
        images = np.concatenate([reader.images(slice(None)) for reader in like.readers(split)])
        images = (images.astype(np.int64) + 25).clip(0, 255).astype(np.uint8)[..., : len(channels)]
        votes = like.votes(split)
        odd = np.stack([rng.multinomial(k, [0.5, 0.3, 0.2]) for k in votes[:, 0]])
        header = ShardHeader(
            survey="other",
            tree=OTHER.to_dict(),
            recipe=ImageRecipe(pixels=like.recipe.pixels, channels=channels, bands=bands),
            split=split,
        )
        n = len(votes)
        entries.append(
            write_shard(
                folder / f"{split}-00000.h5",
                header,
                images=images,
                votes=np.concatenate([votes[:, [1, 0]], odd], 1).astype(np.int32),
                ids=[f"o{i}" for i in like.ids(split)],
                ra=np.zeros(n),
                dec=np.zeros(n),
                pixscale=np.ones(n),
            )
        )
    write_manifest(folder, header, entries)
    return ShardSet.open(folder)


@pytest.fixture(scope="module")
def other(toy_set: ShardSet, tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return other_survey(tmp_path_factory.mktemp("other"), toy_set, bands=("v", "i", "z"))


@pytest.fixture(scope="module")
def tuned(other: ShardSet, parent: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(other, FAST, tmp_path_factory.mktemp("tuned"), parent=parent)


def block_states(model: Morphology) -> list[list[bytes]]:
    """The bits of every block: weights and running statistics."""
    return [
        [value.numpy().tobytes() for part in block.modules for value in part.state_dict().values()]
        for block in encoder_blocks(model.encoder)
    ]


def test_frozen_blocks_are_the_parents_bit_for_bit(tuned: TrainResult, parent: Path) -> None:
    """Zoobot's batch statistics move in frozen encoders, in every version."""
    before, after = block_states(Morphology.load(parent)), block_states(tuned.model)
    assert before[:-3] == after[:-3]
    assert all(one != two for one, two in zip(before[-3:], after[-3:], strict=True))


def test_a_model_says_where_it_comes_from(tuned: TrainResult, parent: Path, other: ShardSet) -> None:
    spec = tuned.model.spec
    assert spec.tree == OTHER
    assert spec.survey == "other"
    assert spec.notes["parent"] == read_spec(parent).training_fingerprint
    assert spec.notes["parent_survey"] == "toy"
    assert spec.notes["parent_fingerprint"] == read_fingerprint(parent)
    assert spec.notes["parent_recipe"] == "bands: () in the parent, ('v', 'i', 'z') here"
    assert (spec.encoder, spec.input_pixels) == ("mobilenet_v3_small", other.recipe.pixels)
    assert (tuned.config.encoder, tuned.config.input_pixels) == (spec.encoder, spec.input_pixels)
    assert Morphology.load(tuned.folder).spec.notes == spec.notes


@pytest.mark.parametrize("blocks", [0, 1, "all"])
def test_as_many_blocks_learn_as_asked(other: ShardSet, parent: Path, tmp_path: Path, blocks: int | str) -> None:
    config = FAST.model_copy(update={"blocks": blocks, "epochs": 1})
    result = train(other, config, tmp_path, parent=parent)
    before, after = block_states(Morphology.load(parent)), block_states(result.model)
    learnt = [one != two for one, two in zip(before, after, strict=True)]
    n = len(before) if blocks == "all" else int(blocks)
    assert learnt == [False] * (len(before) - n) + [True] * n
    assert result.config.blocks == n


def test_statistics_may_stay_the_parents_where_weights_learn(other: ShardSet, parent: Path, tmp_path: Path) -> None:
    config = FAST.model_copy(update={"statistics": "parent", "epochs": 1})
    model = train(other, config, tmp_path, parent=parent).model
    old, new = Morphology.load(parent).state_dict(), model.state_dict()
    statistics = [key for key in old if "running" in key]
    assert statistics
    assert all(torch.equal(old[key], new[key]) for key in statistics)
    assert any(not torch.equal(old[key], new[key]) for key in old if key.startswith("encoder.classifier"))


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_best_weights_are_returned_and_frozen_parts_average_to_themselves(
    other: ShardSet, parent: Path, tmp_path: Path, average: float
) -> None:
    """The reported loss is that of the saved model, with the parent's statistics under the average."""
    wild = {"average": average, "epochs": 4, "lr": 0.03, "final_lr": 1.0, "clip": 10.0, "head_epochs": 0}
    result = train(other, FAST.model_copy(update=wild), tmp_path, parent=parent)
    images = np.concatenate([reader.images(slice(None)) for reader in other.readers("validation")])
    votes = torch.from_numpy(other.votes("validation"))
    with torch.no_grad():
        nll = dirichlet_multinomial_nll(votes, result.model(images), other.tree)
    losses = [epoch["validation_loss"] for epoch in result.history]
    assert float(nll.sum(1).mean()) == pytest.approx(min(losses), rel=1e-5)
    assert result.best_epoch == int(np.argmin(losses))
    assert block_states(result.model)[:-3] == block_states(Morphology.load(parent))[:-3]


def toy_fit(encoder: str = "mobilenet_v3_small", total_steps: int = 100, **options: object) -> Fit:
    spec = ModelSpec(
        encoder=encoder,
        trees=(SurveyTree(survey="other", tree=OTHER.to_dict()),),
        recipe=ImageRecipe(pixels=32),
        input_pixels=32,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    config = FineTuneConfig.model_validate(options).resolve(100, spec.recipe)
    return Fit(Morphology(spec), config, total_steps)


@settings(max_examples=25, deadline=None)
@given(blocks=st.integers(0, 5), decay=st.floats(0.1, 1), weight_decay=st.floats(0, 1))
def test_each_block_has_its_rate_and_frozen_ones_none(blocks: int, decay: float, weight_decay: float) -> None:
    fit = toy_fit("shufflenet_v2_x0_5", blocks=blocks, layer_decay=decay, weight_decay=weight_decay, lr=0.01)
    groups = fit.configure_optimizers()["optimizer"].param_groups
    of_parameter = {id(p): group for group in groups for p in group["params"]}
    assert len(of_parameter) == sum(len(group["params"]) for group in groups)
    for depth, block in enumerate(reversed(encoder_blocks(fit.model.encoder)), start=1):
        for parameter in block.parameters():
            if depth > blocks:
                assert id(parameter) not in of_parameter
                assert not parameter.requires_grad
            else:
                assert of_parameter[id(parameter)]["initial_lr"] == pytest.approx(0.01 * decay**depth)
                assert parameter.requires_grad
    head = fit.model.head.linear
    assert of_parameter[id(head.weight)]["initial_lr"] == 0.01
    # Zoobot 2.9 gives the head none.
    assert of_parameter[id(head.weight)]["weight_decay"] == weight_decay
    assert of_parameter[id(head.bias)]["weight_decay"] == 0


def test_the_schedule_is_a_factor_on_each_groups_own_rate() -> None:
    """Zoobot multiplies the rate by the rate: 1e-4 becomes 1e-8."""
    fit = toy_fit(lr=1e-4, blocks=2, layer_decay=0.5, warmup=0.1, final_lr=0.01)
    found = fit.configure_optimizers()
    optimizer, schedule = found["optimizer"], found["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(fit.total_steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    top = np.array(rates).max(0)
    wanted = [1e-4 * {"head": 1, "classifier": 0.5, "features.11": 0.25}[g["name"]] for g in optimizer.param_groups]
    np.testing.assert_allclose(top, wanted)
    np.testing.assert_allclose(rates[-1], top * 0.01)


def test_frozen_blocks_stay_in_evaluation_mode_and_get_no_gradient() -> None:
    fit = toy_fit(blocks=2)
    fit.train()
    fit.on_train_epoch_start()
    blocks = encoder_blocks(fit.model.encoder)
    still = {module for block in blocks[:-2] for part in block.modules for module in part.modules()}
    assert not any(module.training for module in still)
    assert all(module.training for block in blocks[-2:] for part in block.modules for module in part.modules())
    images = torch.randint(0, 255, (4, 32, 32, 3), dtype=torch.uint8)
    fit.training_step((images, torch.ones(4, len(OTHER.answers), dtype=torch.int32))).backward()
    assert all(p.grad is None for block in blocks[:-2] for p in block.parameters())
    assert all(p.grad is not None for block in blocks[-2:] for p in block.parameters())


def test_the_head_starts_from_the_constant_dirichlet_of_the_new_votes(
    other: ShardSet, parent: Path, tmp_path: Path
) -> None:
    """At a rate of nearly nothing the model still scores as the constant does."""
    config = FAST.model_copy(update={"lr": 1e-12, "epochs": 1, "average": 0.0, "statistics": "parent"})
    result = train(other, config, tmp_path, parent=parent)
    votes = torch.from_numpy(other.votes("train"))
    images = np.concatenate([reader.images(slice(None)) for reader in other.readers("train")])
    with torch.no_grad():
        found = dirichlet_multinomial_nll(votes, result.model(images), other.tree).sum(1).mean()
    constant = torch.from_numpy(constant_dirichlet(other.votes("train"), other.tree)).expand(len(votes), -1)
    wanted = dirichlet_multinomial_nll(votes, constant, other.tree).sum(1).mean()
    assert float(found) == pytest.approx(float(wanted), rel=0.02)


@pytest.mark.parametrize("whose", ["parent", "shards"])
def test_images_are_normalised_as_asked(other: ShardSet, parent: Path, tmp_path: Path, whose: str) -> None:
    config = FAST.model_copy(update={"normalisation": whose, "epochs": 1, "blocks": 0})
    spec = train(other, config, tmp_path, parent=parent).model.spec
    own = read_spec(parent)
    assert (spec.mean, spec.std) == ((own.mean, own.std) if whose == "parent" else channel_statistics(other))


def test_killed_within_an_epoch_a_fine_tune_goes_on_to_the_same_bits(
    other: ShardSet, parent: Path, tmp_path: Path
) -> None:
    config = FAST.model_copy(update={"epochs": 4})
    arguments = [str(other.folder), str(tmp_path / "broken"), config.model_dump_json(), str(parent)]
    assert subprocess.run([sys.executable, str(SCRIPT), *arguments], check=False).returncode == -signal.SIGKILL
    resumed: list[int] = []
    train(other, config, tmp_path / "broken", parent=parent, on_epoch=lambda epoch: resumed.append(epoch.epoch))
    train(other, config, tmp_path / "whole", parent=parent)
    assert resumed == [2, 3]
    one, two = (tmp_path / name / "model" / "model.safetensors" for name in ("whole", "broken"))
    assert one.read_bytes() == two.read_bytes()


def test_another_parent_is_another_run(other: ShardSet, parent: Path, tmp_path: Path) -> None:
    config = FAST.model_copy(update={"epochs": 1, "blocks": 0})
    train(other, config, tmp_path / "run", parent=parent)
    again = train(other, config, tmp_path / "run", parent=parent, on_epoch=lambda _: pytest.fail("it trained again"))
    assert again.finished
    model = Morphology.load(parent)
    with torch.no_grad():
        next(model.encoder.parameters())[0] += 1
    model.save(tmp_path / "changed")
    assert read_fingerprint(tmp_path / "changed") != read_fingerprint(parent)
    with pytest.raises(TrainingError, match="the parent is another model"):
        train(other, config, tmp_path / "run", parent=tmp_path / "changed")


def test_all_contradictions_are_said_at_once(toy_set: ShardSet, parent: Path, tmp_path: Path) -> None:
    grey = other_survey(tmp_path / "grey", toy_set, channels="L")
    config = FAST.model_copy(update={"encoder": "resnet18", "stem_stride": 1, "input_pixels": 20, "blocks": 14})
    with pytest.raises(TrainingError) as caught:
        train(grey, config, tmp_path / "run", parent=parent)
    assert caught.value.problems == (
        "encoder: 'resnet18' is asked for, the parent has 'mobilenet_v3_small'",
        "stem_stride: 1 is asked for, the parent has None",
        "input_pixels: 20 is asked for, the parent has 24",
        "blocks: 14 are to learn, mobilenet_v3_small has 13",
        "channels: the parent was trained on colour images, the shards hold grey ones",
    )
    assert "--pixels 24" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_images_of_another_size_are_refused(make_set: MakeSet, parent: Path, tmp_path: Path) -> None:
    larger = make_set(tmp_path / "shards", {"train": 8, "validation": 4}, pixels=48)
    with pytest.raises(TrainingError, match="pixels: the parent was trained on images of 24 px, the shards' have 48"):
        train(larger, FAST, tmp_path / "run", parent=parent)


def test_saying_what_the_parent_is_contradicts_nothing(other: ShardSet, parent: Path) -> None:
    config = FAST.model_copy(update={"encoder": "mobilenet_v3_small", "input_pixels": 24, "blocks": 13})
    settled = Parent.open(parent).settle(config, other.recipe)
    assert settled == config
    assert Parent.open(parent).settle(settled, other.recipe) == settled


def test_parent_and_configuration_belong_together(toy_set: ShardSet, parent: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no parent to fine-tune"):
        train(toy_set, FAST, tmp_path)
    with pytest.raises(TrainingError, match="a parent was given to a training from scratch"):
        train(toy_set, SCRATCH, tmp_path, parent=parent)


@pytest.mark.parametrize("values", [{"blocks": -1}, {"blocks": "some"}, {"layer_decay": 0}, {"labels": 0}])
def test_wrong_options_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FineTuneConfig.model_validate(values)


@given(few=st.integers(1, 96), more=st.integers(1, 96), seed=st.integers(0, 9))
def test_fewer_labels_are_among_more(toy_set: ShardSet, few: int, more: int, seed: int) -> None:
    few, more = sorted((few, more))
    smaller, larger = training_rows(toy_set, few, seed), training_rows(toy_set, more, seed)
    assert len(smaller) == few
    assert set(smaller) <= set(larger)
    assert list(smaller) == sorted(smaller)


def test_another_seed_chooses_other_galaxies(toy_set: ShardSet) -> None:
    assert list(training_rows(toy_set, 20, 1)) != list(training_rows(toy_set, 20, 2))


def test_a_few_labels_decide_all_that_is_learnt(toy_set: ShardSet, tmp_path: Path) -> None:
    result = train(toy_set, SCRATCH.model_copy(update={"labels": 20, "epochs": 1}), tmp_path)
    rows = training_rows(toy_set, 20, SCRATCH.seed)
    assert result.n_train == 20
    assert result.model.spec.notes["labels"] == "20 of 96 training galaxies"
    assert (result.model.spec.mean, result.model.spec.std) == channel_statistics(toy_set, rows)
    votes = torch.from_numpy(toy_set.votes("validation"))
    constant = torch.from_numpy(constant_dirichlet(toy_set.votes("train")[rows], toy_set.tree))
    wanted = dirichlet_multinomial_nll(votes, constant.expand(len(votes), -1), toy_set.tree).sum(1).mean()
    assert result.baseline["loss"] == pytest.approx(float(wanted))


def test_more_labels_than_there_are_means_all_and_is_said(
    toy_set: ShardSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = SCRATCH.model_copy(update={"epochs": 1})
    train(toy_set, config, tmp_path / "all")
    with caplog.at_level(logging.WARNING, logger="gzflow"):
        result = train(toy_set, config.model_copy(update={"labels": 1000}), tmp_path / "more")
    assert "1000 labels are asked for, there are 96 training galaxies: all are used" in caplog.text
    assert result.n_train == 96
    one, two = (json.loads((tmp_path / name / "training.json").read_text()) for name in ("all", "more"))
    assert one["fingerprint"] == two["fingerprint"]


def test_processes_share_the_statistics_of_what_learns_alone() -> None:
    """The mean of three equal numbers may be another number: frozen statistics must not be averaged at all."""
    fit = toy_fit(blocks=2)
    shared = {id(buffer) for buffer in fit._moving_statistics()}
    blocks = encoder_blocks(fit.model.encoder)
    of_blocks = [{id(b) for part in block.modules for b in part.buffers() if b.is_floating_point()} for block in blocks]
    assert not shared & set().union(*of_blocks[:-2])
    assert set().union(*of_blocks[-2:]) <= shared
    assert fit.average is not None
    averages = {id(b) for b in fit.average.buffers()}
    assert len(shared & averages) == len(shared) / 2


def test_dropout_inside_frozen_blocks_is_off() -> None:
    """Features of what does not learn are those that the parent gives."""
    fit = toy_fit("efficientnet_b0", blocks=1)
    fit.on_train_epoch_start()
    x = torch.rand(2, 3, 32, 32)
    below = nn.Sequential(*list(fit.model.encoder.features)[:-1])
    with torch.no_grad():
        assert torch.equal(below(x), below(x))
