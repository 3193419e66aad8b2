"""Networks of several seeds as one model: a mixture of equal parts, in the files of any other model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gzflow.errors import ModelError
from gzflow.model.ensemble import join, member, without_dropout
from gzflow.model.head import galaxy_keys
from gzflow.model.morphology import Morphology, read_fingerprint, read_spec
from gzflow.model.spec import ModelSpec, SurveyTree
from gzflow.recipe import ImageRecipe
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree((Question("shape", ("round", "disk", "odd")), Question("bar", ("yes", "no"), ("shape=disk",))))
KEYS = torch.from_numpy(galaxy_keys(list("abcde")).copy())


def single(seed: int, **changes: object) -> Morphology:
    values = {
        "encoder": "mobilenet_v3_small",
        "trees": (SurveyTree(survey="toy", tree=TREE.to_dict()),),
        "recipe": ImageRecipe(pixels=32),
        "input_pixels": 32,
        "mean": (20.0, 30.0, 40.0),
        "std": (10.0, 11.0, 12.0),
        "training_fingerprint": f"training-{seed}",
        "training": {"seed": seed},
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Morphology(ModelSpec.model_validate(values | changes)).eval()


@pytest.fixture(scope="module")
def members() -> list[Morphology]:
    return [single(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def ensemble(members: list[Morphology]) -> Morphology:
    return join(members)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), np.uint8)


@torch.inference_mode()
def test_each_member_draws_its_share_as_it_would_alone(members, ensemble, images) -> None:
    got = ensemble.concentrations(images, 12, seed=5, keys=KEYS)
    alone = [one.concentrations(images, 4, seed=5 + i, keys=KEYS) for i, one in enumerate(members)]
    torch.testing.assert_close(got, torch.cat(alone, dim=1), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_shares_differ_by_one_sample_at_most(members, ensemble, images) -> None:
    got = ensemble.concentrations(images, 8, seed=5, keys=KEYS)
    for i, (rows, n) in enumerate(((slice(0, 3), 3), (slice(3, 6), 3), (slice(6, 8), 2))):
        wanted = members[i].concentrations(images, n, seed=5 + i, keys=KEYS)
        torch.testing.assert_close(got[:, rows], wanted, rtol=1e-5, atol=1e-5)
    with pytest.raises(ModelError, match=r"0 samples are asked of a model(.|\n)*expected: 1 or more\n"):
        members[0].spec.require_samples(0)
    with pytest.raises(ModelError, match=r"2 samples are asked of an ensemble of 3 members(.|\n)*--samples 21"):
        ensemble.concentrations(images, 2)


@torch.inference_mode()
def test_without_dropout_a_sample_is_one_pass_of_a_member(members, ensemble, images) -> None:
    plain = without_dropout(ensemble).concentrations(images, 3, keys=KEYS)
    for i, one in enumerate(members):
        torch.testing.assert_close(plain[:, i], one(images), rtol=1e-5, atol=1e-5)
    assert not torch.equal(ensemble.concentrations(images, 3, keys=KEYS), plain)
    with pytest.raises(ModelError, match="no single set of concentrations"):
        ensemble(images)


@torch.inference_mode()
def test_saved_and_loaded_it_is_the_same(ensemble, images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    for name in ("pickle.load", "pickle.loads", "torch.load"):
        monkeypatch.setattr(name, refuse)
    ensemble.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    loaded = Morphology.load(tmp_path)
    assert torch.equal(loaded.concentrations(images, 6, keys=KEYS), ensemble.concentrations(images, 6, keys=KEYS))
    spec = read_spec(tmp_path)
    assert (spec.members, spec.samples) == (3, 21)
    assert spec.notes["members"] == "training-0, training-1, training-2"
    assert spec.training_fingerprint not in {None, "training-0"}


@torch.inference_mode()
def test_members_with_components_draw_as_many_samples_as_alone(images) -> None:
    several = [single(seed, components=2, samples=6) for seed in range(2)]
    mixed = join(several)
    assert mixed.spec.samples == 12
    got = mixed.concentrations(images, mixed.spec.samples, seed=5, keys=KEYS)
    alone = [one.concentrations(images, 6, seed=5 + i, keys=KEYS) for i, one in enumerate(several)]
    torch.testing.assert_close(got, torch.cat(alone, dim=1), rtol=1e-5, atol=1e-5)


def test_what_was_tampered_with_is_refused(ensemble, tmp_path: Path) -> None:
    ensemble.save(tmp_path)
    before = read_fingerprint(tmp_path)
    weights, description = tmp_path / "model.safetensors", tmp_path / "model.json"
    state, content = load_file(weights), weights.read_bytes()
    state["encoder.members.1.features.0.0.weight"] += 1e-6
    save_file(state, weights)
    with pytest.raises(ModelError, match="is not the file that"):
        Morphology.load(tmp_path)
    weights.write_bytes(content)
    assert read_fingerprint(tmp_path) == before
    changed = json.loads(description.read_text())
    description.write_text(json.dumps(changed | {"members": 2}))
    with pytest.raises(ModelError, match="do not fit"):
        Morphology.load(tmp_path)
    description.write_text(json.dumps(changed | {"members": 30}))
    with pytest.raises(ModelError, match="fewer than the 30 members"):
        Morphology.load(tmp_path)


@torch.inference_mode()
def test_a_member_is_a_model_by_itself(members, ensemble, images) -> None:
    second = member(ensemble, 1)
    assert second.spec.members == 1
    assert torch.equal(second(images), members[1](images))
    assert member(second, 0) is second


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ([], "1 members"),
        ([{"dropout": 0.5}], r"member 2: dropout is 0\.5, the first one's 0\.2"),
        ([{"mean": (1.0, 2.0, 3.0)}, {"samples": 5}], r"member 2: mean(.|\n)*member 3: samples"),
        ([{"training_fingerprint": "training-0"}], "training-0 stands there twice"),
    ],
    ids=["alone", "another dropout", "two of other kinds", "the same"],
)
def test_what_makes_no_ensemble(members, others: list[dict[str, object]], why: str) -> None:
    chosen = [members[0], *(single(i, **changes) for i, changes in enumerate(others, start=1))]
    with pytest.raises(ModelError, match=why):
        join(chosen)


def test_an_ensemble_is_no_member(ensemble, members) -> None:
    with pytest.raises(ModelError, match=r"members is 1(.|\n)*an ensemble itself"):
        join([ensemble, members[0]])
