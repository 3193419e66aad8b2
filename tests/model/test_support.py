"""The support of a model: p-values of galaxies like the training's are uniform, those of others are small."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gzflow.dictionary import STATISTICS
from gzflow.errors import ModelError
from gzflow.model.image_statistics import image_statistics, statistic_names
from gzflow.model.morphology import Morphology, read_fingerprint, read_support
from gzflow.model.spec import ModelSpec, SurveyTree
from gzflow.model.support import FALSE_ALARMS, Space, Support, conformal, normal_scores
from gzflow.recipe import ImageRecipe

QUESTION = [{"name": "shape", "answers": ["round", "disk"], "asked_after": []}]


def draw(n: int, seed: int, shift: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features in a plane of 12 dimensions, and three statistics of quite different scales."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(6, 12, generator=torch.Generator().manual_seed(0))
    features = torch.randn(n, 6, generator=generator) @ mixing
    statistics = torch.randn(n, 3, generator=generator) * torch.tensor([1.0, 50.0, 0.01])
    return features, statistics + shift * torch.tensor([0.0, 50.0, 0.0])


@pytest.fixture(scope="module")
def support() -> Support:
    known, held_out = draw(1500, 1), draw(999, 2)
    return Support.fit((known[0], held_out[0]), (known[1], held_out[1]))


def test_false_alarms_are_as_many_as_were_promised(support: Support) -> None:
    p = support(*draw(4000, 3)).numpy()
    assert p.shape == (4000, 3)
    for column in p.T:
        assert (column < FALSE_ALARMS).mean() == pytest.approx(FALSE_ALARMS, abs=0.015)
        assert column.mean() == pytest.approx(0.5, abs=0.03)


def test_what_is_odd_in_one_way_is_out_of_support(support: Support) -> None:
    features, statistics = draw(500, 4)
    odd = support(features, draw(500, 4, shift=6.0)[1]).numpy()
    assert (odd[:, 0] < FALSE_ALARMS).mean() > 0.98
    assert (odd[:, 1] < FALSE_ALARMS).mean() < 0.12
    far = support(features + 6 * features.std(0), statistics).numpy()
    assert (far[:, 0] < FALSE_ALARMS).mean() > 0.98
    assert (far[:, 2] < FALSE_ALARMS).mean() < 0.12


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30), st.integers(-1, 21))
def test_a_p_value_is_the_share_that_lies_as_far(calibration: list[int], distance: int) -> None:
    held_out = torch.tensor(sorted(calibration), dtype=torch.float32)
    expected = (1 + sum(one >= distance for one in calibration)) / (len(calibration) + 1)
    assert conformal(torch.tensor([float(distance)]), held_out).item() == pytest.approx(expected)


def test_an_ensemble_of_before_is_judged_by_its_first_member(support: Support) -> None:
    features, statistics = draw(50, 5)
    both = torch.cat((features, torch.full_like(features, 1e3)), 1)
    assert torch.equal(support(both, statistics), support(features, statistics))


def test_features_in_bfloat16_call_no_galaxy_out_of_support(support: Support) -> None:
    features, statistics = draw(3000, 6)
    exact, rough = support(features, statistics)[:, 1], support(features.bfloat16(), statistics)[:, 1]
    assert not torch.equal(exact, rough)
    alarms = [(p < FALSE_ALARMS).float().mean().item() for p in (exact, rough)]
    assert alarms[0] == pytest.approx(alarms[1], abs=0.005)


def test_what_one_member_of_an_ensemble_finds_odd_is_out_of_support() -> None:
    known, held_out, new = (
        (torch.cat((draw(n, seed)[0], draw(n, seed + 10)[0]), 1), draw(n, seed)[1])
        for n, seed in ((1500, 1), (999, 2), (1000, 3))
    )
    support = Support.fit((known[0], held_out[0]), (known[1], held_out[1]))
    assert (support(*new)[:, 0] < FALSE_ALARMS).float().mean() == pytest.approx(FALSE_ALARMS, abs=0.03)
    odd = new[0].clone()
    odd[:, 12:] += 6 * odd[:, 12:].std(0)
    assert (support(odd, new[1])[:, 0] < FALSE_ALARMS).float().mean() > 0.98


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.4]))
def test_normal_scores_follow_the_ranks(seed: int, zeros: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(2000, 1, generator=generator) ** 2
    values[: int(zeros * len(values))] = 0
    quantiles = values.quantile(torch.linspace(0, 1, 101), dim=0)
    scores = normal_scores(values, quantiles)[:, 0]
    order = values[:, 0].argsort()
    assert (scores[order].diff() >= -1e-4).all()
    level = torch.tensor([0.5, 0.8, 0.95])
    expected = torch.special.ndtri(level) if not zeros else torch.special.ndtri(level.clamp(min=zeros))
    assert torch.allclose(scores.quantile(level), expected, atol=0.06)
    # Equal values have the middle one of their ranks, and rounding does not move them.
    if zeros:
        assert torch.allclose(scores[:800], torch.special.ndtri(torch.tensor(zeros / 2)), atol=0.04)
        assert torch.equal(normal_scores(values[:5] + 1e-9, quantiles)[:, 0], scores[:5])
    beyond = normal_scores(quantiles[-1:] + torch.tensor([[0.0], [1.0], [2.0]]), quantiles)[:, 0]
    assert (beyond.diff() > 1).all()


def test_a_support_of_before_there_were_scores_measures_the_statistics_themselves(support: Support) -> None:
    features, statistics = draw(400, 5)
    scale = 1 / statistics.std(0)
    calibration = torch.arange(99.0)
    space = Space(torch.zeros(3), torch.diag(scale), statistics * scale, calibration)
    old = Support(support.features, space, support.least, support.quantiles).to_bytes()
    assert b"statistics.quantiles" not in old
    loaded = Support.from_bytes(old)
    assert loaded.statistics.quantiles is None
    tenth = torch.cdist(statistics * scale, statistics * scale).square().topk(10, largest=False).values[:, -1]
    assert torch.allclose(loaded.statistics.distances(statistics), tenth, atol=1e-4)
    assert loaded(features, statistics).shape == (400, 3)


@pytest.fixture
def saved(support: Support, tmp_path: Path) -> Path:
    spec = ModelSpec(
        encoder="mobilenet_v3_small",
        trees=(SurveyTree(survey="toy", tree=QUESTION),),
        recipe=ImageRecipe(pixels=32),
        input_pixels=32,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )
    model = Morphology(spec)
    model.save(tmp_path / "without")
    model.support = support
    model.save(tmp_path / "with")
    return tmp_path


def test_a_model_keeps_its_support_and_its_name(support: Support, saved: Path) -> None:
    features, statistics = draw(20, 6)
    loaded = Morphology.load(saved / "with").support
    assert loaded is not None
    assert torch.equal(loaded(features, statistics), support(features, statistics))
    assert read_support(saved / "without") is None
    assert Morphology.load(saved / "without").support is None
    assert read_fingerprint(saved / "with") == read_fingerprint(saved / "without")


def test_a_support_of_another_model_or_none_is_refused(saved: Path) -> None:
    path = saved / "with" / "support.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for load in (Morphology.load, read_support):
        with pytest.raises(ModelError, match=r"support\.safetensors is not the file"):
            load(saved / "with")
    path.unlink()
    with pytest.raises(ModelError, match="no readable support"):
        Morphology.load(saved / "with")


def test_a_support_that_lacks_a_tensor_is_refused(saved: Path) -> None:
    shutil.copyfile(saved / "with" / "model.safetensors", saved / "with" / "support.safetensors")
    description = json.loads((saved / "with" / "model.json").read_text())
    forged = description | {"support_blake2b": description["weights_blake2b"]}
    (saved / "with" / "model.json").write_text(json.dumps(forged))
    with pytest.raises(ModelError, match="support cannot be read"):
        read_support(saved / "with")


def pictures(n: int, pixels: int, noise: float, channels: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[-1 : 1 : pixels * 1j, -1 : 1 : pixels * 1j]
    light = 150 * np.exp(-np.hypot(x, y) / 0.2)[..., None] + 30
    images = light + rng.normal(0, noise, (n, pixels, pixels, channels))
    return torch.from_numpy(np.clip(images, 0, 255).astype(np.uint8))


def test_features_that_differ_by_rounding_alone_call_no_galaxy_out() -> None:
    known, held_out = draw(300, 1), draw(99, 2)
    # What an encoder gives whose batch normalisation knows one epoch: a constant and its last bit.
    flat = [3.7 + 1e-7 * features for features, _ in (known, held_out)]
    support = Support.from_bytes(Support.fit((flat[0], flat[1]), (known[1], held_out[1])).to_bytes())
    otherwise_rounded, statistics = draw(400, 3)
    p = support(3.7 + 3e-7 * otherwise_rounded, statistics)
    assert (p[:, 1] == 1).all()
    assert (p[:, 0] < FALSE_ALARMS).float().mean() < 2 * FALSE_ALARMS


@pytest.mark.parametrize("constant", [0.0, 91 / 3])
def test_a_statistic_that_all_galaxies_share_calls_those_out_that_differ_by_more_than_rounding(constant: float) -> None:
    def shared(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        features, statistics = draw(n, seed)
        return features, torch.cat((statistics, torch.full((n, 1), constant)), 1)

    known, held_out, new = shared(500, 1), shared(399, 2), shared(1000, 3)
    support = Support.fit((known[0], held_out[0]), (known[1], held_out[1]))
    new[1][::2, 3] = torch.nextafter(new[1][::2, 3], torch.tensor(1000.0))
    assert (support(*new)[:, 0] < FALSE_ALARMS).float().mean() < 2 * FALSE_ALARMS
    new[1][:, 3] += 0.01
    assert (support(*new)[:, 0] < FALSE_ALARMS).all()


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e30])
def test_a_number_that_cannot_be_is_out_of_support(support: Support, wrong: float) -> None:
    features, statistics = draw(3, 6)
    statistics[0, 1], features[1, 0] = wrong, wrong
    assert (support(features, statistics)[:2, 0] < FALSE_ALARMS).all()


@pytest.mark.parametrize(("pixels", "channels"), [(16, 3), (64, 3), (224, 3), (64, 1)])
def test_statistics_have_names_and_are_finite(pixels: int, channels: int) -> None:
    found = image_statistics(pictures(4, pixels, 5.0, channels))
    names = statistic_names(found.shape[1])
    assert names == tuple(STATISTICS)[: 10 if channels == 3 else 9]
    assert found.isfinite().all()
    assert image_statistics(torch.zeros(2, pixels, pixels, channels, dtype=torch.uint8)).isfinite().all()


def test_statistics_say_what_they_are_called() -> None:
    quiet, noisy = (
        dict(zip(STATISTICS, image_statistics(pictures(20, 64, noise)).mean(0).tolist(), strict=True))
        for noise in (2.0, 8.0)
    )
    assert quiet["image_sky"] == pytest.approx(30, abs=3)
    assert noisy["image_noise"] > quiet["image_noise"] + 1
    assert noisy["image_sharpness"] > quiet["image_sharpness"]
    assert quiet["image_concentration"] > 0.5
    tinted = pictures(5, 64, 2.0)
    tinted[..., 0] += 40
    assert image_statistics(tinted)[:, -1].mean().item() == pytest.approx(40, abs=2)


def test_a_galaxy_has_its_statistics_whatever_is_beside_it() -> None:
    images = pictures(9, 48, 5.0)
    together = image_statistics(images)
    alone = torch.cat([image_statistics(images[i : i + 1]) for i in range(9)])
    torch.testing.assert_close(together, alone)
