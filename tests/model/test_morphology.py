from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from gzflow.errors import ModelError, RecipeMismatch
from gzflow.model.head import galaxy_keys
from gzflow.model.morphology import Morphology
from gzflow.model.spec import ModelSpec, SurveyTree, default_input_pixels
from gzflow.recipe import ImageRecipe
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree((Question("shape", ("round", "disk", "odd")), Question("bar", ("yes", "no"), ("shape=disk",))))


def spec(**changes: object) -> ModelSpec:
    values = {
        "encoder": "mobilenet_v3_small",
        "trees": (SurveyTree(survey="toy", tree=TREE.to_dict()),),
        "recipe": ImageRecipe(pixels=40),
        "input_pixels": 32,
        "mean": (20.0, 30.0, 40.0),
        "std": (10.0, 11.0, 12.0),
    }
    return ModelSpec.model_validate(values | changes)


@pytest.fixture(scope="module")
def model() -> Morphology:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Morphology(spec()).eval()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (5, 40, 40, 3), np.uint8)


def test_images_become_normalised_channels_last_crops(model: Morphology, images: np.ndarray) -> None:
    found = model.prepare(images)
    assert found.shape == (5, 3, 32, 32)
    assert found.is_contiguous(memory_format=torch.channels_last)
    wanted = (images[:, 4:36, 4:36].astype(float) - [20, 30, 40]) / [10, 11, 12]
    np.testing.assert_allclose(found.permute(0, 2, 3, 1).numpy(), wanted, rtol=1e-5, atol=1e-5)


def test_forward_and_samples(model: Morphology, images: np.ndarray) -> None:
    with torch.no_grad():
        assert model(images).shape == (5, 5)
        keys = torch.from_numpy(galaxy_keys(list("abcde")).copy())
        samples = model.concentrations(images, 7, seed=1, keys=keys)
        assert samples.shape == (5, 7, 5)
        # Dropout leaves the expected logit where it was.
        many = model.concentrations(images, 3000, seed=1, keys=keys)
        logits = torch.logit((many - 1) / 100).mean(1)
        torch.testing.assert_close(logits, torch.logit((model(images) - 1) / 100), rtol=0.05, atol=0.02)


def test_saved_model_gives_the_same_answers(model: Morphology, images: np.ndarray, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    model.save(tmp_path / "m")
    loaded = Morphology.load(tmp_path / "m")
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
    assert loaded.spec.model_dump(exclude={"created_by"}) == model.spec.model_dump(exclude={"created_by"})
    assert loaded.tree == TREE
    assert not loaded.training
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["model.json", "model.safetensors"]


def test_no_pickle_is_needed(model: Morphology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model.save(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    monkeypatch.setattr("pickle.load", refuse)
    monkeypatch.setattr("pickle.loads", refuse)
    monkeypatch.setattr("torch.load", refuse)
    Morphology.load(tmp_path)


def test_missing_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no readable model.json(.|\n)*Morphology.save"):
        Morphology.load(tmp_path)


def test_torn_pair_of_files_is_refused(model: Morphology, tmp_path: Path) -> None:
    model.save(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
    with pytest.raises(ModelError, match="is not the file that"):
        Morphology.load(tmp_path)
    weights.unlink()
    with pytest.raises(ModelError, match="no readable weights"):
        Morphology.load(tmp_path)


def change(folder: Path, **values: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_other_format_versions_are_refused(model: Morphology, tmp_path: Path) -> None:
    model.save(tmp_path)
    change(tmp_path, format_version=2)
    with pytest.raises(ModelError, match=r"format version 2\n(.|\n)*expected: format version 1"):
        Morphology.load(tmp_path)


@pytest.mark.parametrize("values", [{"surprise": 1}, {"mean": [1.0]}, {"input_pixels": 99}, {"trees": []}])
def test_a_description_that_does_not_describe(model: Morphology, tmp_path: Path, values: dict[str, object]) -> None:
    model.save(tmp_path)
    change(tmp_path, **values)
    with pytest.raises(ModelError, match="does not describe a model"):
        Morphology.load(tmp_path)


def test_weights_of_another_encoder(model: Morphology, tmp_path: Path) -> None:
    model.save(tmp_path)
    change(tmp_path, encoder="resnet18")
    with pytest.raises(ModelError, match="do not fit encoder 'resnet18'"):
        Morphology.load(tmp_path)


def test_every_recipe_difference_is_listed(model: Morphology) -> None:
    other = ImageRecipe(name="gzdecals", bands=("g", "r", "z"), pixels=64)
    with pytest.raises(RecipeMismatch) as caught:
        model.require_recipe(other)
    text = str(caught.value)
    for part in ("name: 'as-delivered' in the model, 'gzdecals' in the images", "bands:", "pixels: 40", "64 in the im"):
        assert part in text
    assert len(model.require_recipe(other, allow=True)) == 3
    assert model.require_recipe(ImageRecipe(pixels=40)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 40, 40, 1), np.uint8),
        np.zeros((2, 31, 40, 3), np.uint8),
        np.zeros((40, 40, 3), np.uint8),
        np.zeros((2, 40, 40, 3), np.float32),
    ],
)
def test_images_that_do_not_fit(model: Morphology, wrong: np.ndarray) -> None:
    with pytest.raises(ModelError, match="expected"):
        model.encode(wrong)


def test_a_survey_has_one_tree() -> None:
    with pytest.raises(ValidationError, match="names a survey twice"):
        spec(trees=(SurveyTree(survey="toy", tree=TREE.to_dict()),) * 2)


def test_grey_images(images: np.ndarray) -> None:
    grey = Morphology(
        spec(recipe=ImageRecipe(pixels=40, channels="L"), mean=(20.0,), std=(5.0,)),
    ).eval()
    with torch.no_grad():
        assert grey(np.ascontiguousarray(images[..., :1])).shape == (5, 5)


def test_default_crop() -> None:
    found = {pixels: default_input_pixels(pixels) for pixels in (16, 64, 128, 140, 256, 300, 424)}
    assert found == {16: 16, 64: 64, 128: 128, 140: 128, 256: 192, 300: 224, 424: 320}
    assert all(default_input_pixels(pixels) <= pixels for pixels in range(16, 1025))


def test_an_encoder_whose_modules_carry_versions_loads_again(tmp_path: Path) -> None:
    """MNASNet's state has a version that a file of bare tensors does not keep."""
    tree = DecisionTree((Question("bar", ("yes", "no")),))
    spec = ModelSpec(
        encoder="mnasnet0_5",
        trees=(SurveyTree(survey="s", tree=tree.to_dict()),),
        recipe=ImageRecipe(pixels=64),
        input_pixels=64,
        mean=(1.0,) * 3,
        std=(1.0,) * 3,
    )
    model = Morphology(spec)
    model.save(tmp_path)
    images = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    with torch.no_grad():
        torch.testing.assert_close(Morphology.load(tmp_path)(images), model.eval()(images))


CLUMPS = DecisionTree((Question("shape", ("smooth", "clumpy")),))


def joint_spec(**changes: object) -> ModelSpec:
    trees = (
        SurveyTree(survey="a_1", tree=CLUMPS.to_dict(), recipe=ImageRecipe(pixels=40)),
        SurveyTree(survey="toy", tree=TREE.to_dict(), recipe=ImageRecipe(pixels=40, scale_rule="0.1")),
    )
    return spec(trees=trees, unidentified=("a-1.shape", "toy.bar"), **changes)


@pytest.mark.parametrize("likelihood", ["dirichlet-multinomial", "multinomial"])
def test_each_survey_of_a_joint_model_has_its_own_head(images: np.ndarray, likelihood: str, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Morphology(joint_spec(likelihood=likelihood)).eval().save(tmp_path / "joint")
    joint = Morphology.load(tmp_path / "joint")
    assert joint.spec.survey == "joint-a_1-toy"
    together = joint.concentrations(images, 3).detach()
    for survey, tree, rows in (("a_1", CLUMPS, slice(0, 2)), ("toy", TREE, slice(2, 7))):
        joint.answering(survey).save(tmp_path / survey)
        alone = Morphology.load(tmp_path / survey)
        assert alone.spec.survey == survey
        assert alone.tree == tree
        assert alone.spec.notes["joint"] == "a_1, toy"
        torch.testing.assert_close(alone.concentrations(images, 3).detach(), together[..., rows], rtol=1e-5, atol=1e-5)


def test_what_a_joint_model_says_of_one_survey() -> None:
    whole = joint_spec()
    toy = whole.answering("toy")
    assert toy.recipe.scale_rule == "0.1"
    assert toy.unidentified == ("bar",)
    assert toy.answering("anything") is toy
    with pytest.raises(ModelError, match="one of its surveys: a_1, toy"):
        whole.answering("hubble")


def test_a_joint_model_takes_the_images_of_each_of_its_surveys() -> None:
    whole = joint_spec()
    assert not whole.require_recipe(ImageRecipe(pixels=40, scale_rule="0.1"))
    with pytest.raises(RecipeMismatch):
        whole.answering("a_1").require_recipe(ImageRecipe(pixels=40, scale_rule="0.1"))
