"""Schedule, averaging, metrics and configuration."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from gzflow.errors import TrainingError
from gzflow.model.morphology import Morphology
from gzflow.model.spec import ModelSpec, SurveyTree
from gzflow.recipe import ImageRecipe
from gzflow.training.averaging import averaged_copy, update_average
from gzflow.training.config import TrainConfig
from gzflow.training.fit import Fit
from gzflow.training.metrics import EpochMetrics, RunningNLL
from gzflow.training.schedule import warm_cosine
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree((Question("shape", ("round", "disk")), Question("bar", ("yes", "no"), ("shape=disk",))))


@given(total=st.integers(1, 500), warmup=st.floats(0, 0.9), final=st.floats(0, 1))
def test_schedule_rises_to_one_and_falls_to_the_end(total: int, warmup: float, final: float) -> None:
    factor = warm_cosine(total, warmup, final)
    values = [factor(step) for step in range(total)]
    top = values.index(max(values))
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert max(values) == pytest.approx(1)
    assert min(values) > 0 or final == 0


def test_schedule_multiplies_the_learning_rate_once() -> None:
    """A schedule that returned rates instead of factors would train at the square of the rate."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_cosine(100, 0.1, 0.01))
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert max(rates) == pytest.approx(1e-3)
    assert rates[0] == pytest.approx(1e-4)
    assert rates[-1] == pytest.approx(1e-5)


def test_average_follows_weights_and_statistics() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = averaged_copy(model)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1)
    model[1].running_mean.fill_(3.0)
    model[1].num_batches_tracked.fill_(9)
    start = average[0].weight.clone()
    update_average(average, model, 0.75, step=1000)
    torch.testing.assert_close(average[0].weight, start + 0.25)
    torch.testing.assert_close(average[1].running_mean, torch.full((2,), 0.75))
    assert int(average[1].num_batches_tracked) == 9
    assert not any(p.requires_grad for p in average.parameters())


def test_average_follows_closely_at_first() -> None:
    model, steps = nn.Linear(1, 1), 5
    average = averaged_copy(model)
    for step in range(1, steps + 1):
        with torch.no_grad():
            model.weight.fill_(step)
        update_average(average, model, 0.999, step)
    assert float(average.weight) > 3


def test_running_losses_count_only_galaxies_that_were_asked() -> None:
    running = RunningNLL(TREE, torch.device("cpu"))
    running.add(torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[1, 1, 1, 0], [2, 0, 0, 0]]))
    running.add(torch.tensor([[5.0, 0.0]]), torch.tensor([[1, 0, 0, 0]]))
    loss, per_question = running.result()
    assert loss == pytest.approx(11 / 3)
    assert per_question == pytest.approx({"shape": 3.0, "bar": 2.0})


def test_questions_nobody_was_asked_are_left_out() -> None:
    running = RunningNLL(TREE, torch.device("cpu"))
    running.add(torch.tensor([[1.0, 0.0]]), torch.tensor([[1, 1, 0, 0]]))
    assert running.result()[1] == {"shape": 1.0}


def test_divergence_names_the_question() -> None:
    running = RunningNLL(TREE, torch.device("cpu"))
    running.add(torch.tensor([[1.0, float("nan")]]), torch.tensor([[1, 1, 1, 0]]))
    with pytest.raises(TrainingError, match=r"diverged(.|\n)*questions: bar(.|\n)*lower lr"):
        running.result()


def test_flat_metrics_name_every_number_once() -> None:
    epoch = EpochMetrics(3, 2.0, 1.5, {"bar": 1.0}, {"bar": 0.9}, 1e-3, 5.0, 100.0, best=True)
    assert epoch.flat() == {
        "train_loss": 2.0,
        "validation_loss": 1.5,
        "train_nll/bar": 1.0,
        "validation_nll/bar": 0.9,
        "lr": 1e-3,
        "seconds": 5.0,
        "images_per_s": 100.0,
    }
    assert EpochMetrics(**epoch.to_dict()) == epoch


def test_defaults() -> None:
    config = TrainConfig()
    assert (config.encoder, config.dropout, config.lr, config.weight_decay) == ("efficientnet_b0", 0.2, 1e-3, 0.01)
    assert (config.patience, config.clip, config.seed) == (10, 0.3, 42)


def test_auto_values_follow_the_set() -> None:
    small = TrainConfig().resolve(1400, ImageRecipe(pixels=64))
    large = TrainConfig().resolve(200_000, ImageRecipe(pixels=300))
    assert (small.batch_size, small.input_pixels) == (32, 64)
    assert (large.batch_size, large.input_pixels) == (128, 224)
    assert isinstance(small.average, float)
    assert isinstance(large.average, float)
    assert small.average < large.average <= 0.999
    kept = TrainConfig(batch_size=7, average=0.0, input_pixels=48).resolve(1400, ImageRecipe(pixels=64))
    assert (kept.batch_size, kept.average, kept.input_pixels) == (7, 0.0, 48)


def test_fingerprint_follows_the_result_only() -> None:
    assert TrainConfig().fingerprint == TrainConfig(workers=3).fingerprint
    assert TrainConfig().fingerprint != TrainConfig(lr=2e-3).fingerprint
    assert TrainConfig(members=3).fingerprint != TrainConfig().fingerprint == TrainConfig(members=1).fingerprint


@pytest.mark.parametrize(
    "values", [{"epoch": 3}, {"lr": 0}, {"zoom": (1.2, 0.9)}, {"batch_size": 1}, {"dropout": 1.0}, {"precision": "fp8"}]
)
def test_wrong_options_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainConfig.model_validate(values)


def test_statistics_of_slow_encoders_are_quickened() -> None:
    spec = ModelSpec(
        encoder="mobilenet_v3_small",
        trees=(SurveyTree(survey="toy", tree=TREE.to_dict()),),
        recipe=ImageRecipe(pixels=32),
        input_pixels=32,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    model = Morphology(spec)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.01}  # as torchvision makes them
    Fit(model, TrainConfig().resolve(100, spec.recipe), total_steps=10)
    assert {norm.momentum for norm in norms} == {0.1}
