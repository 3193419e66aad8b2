from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gzflow.dictionary import STATISTICS, SUPPORT
from gzflow.errors import ModelError, NoChampion, TrackingError
from gzflow.model.image_statistics import image_statistics
from gzflow.model.morphology import Morphology, central_crop
from gzflow.model.support import Support
from gzflow.posterior import fractions
from gzflow.settings import Settings
from gzflow.tracking.client import connect
from gzflow.tracking.registry import ModelRef, Registry
from gzflow.tracking.run import TrackedRun
from gzflow.tracking.succession import DECISION

SavedModel = Callable[[int], Path]


def register(settings: Settings, folder: Path, survey: str = "toy") -> ModelRef:
    with TrackedRun(settings, survey) as run:
        return Registry(settings).register(folder, run)


def test_the_first_model_is_champion_and_the_next_is_challenger(settings: Settings, saved_model: SavedModel) -> None:
    first = register(settings, saved_model(1))
    assert (first.name, first.version, first.uri) == ("gzflow-toy", "1", "models:/gzflow-toy/1")
    assert first.tags[DECISION] == "no champion before"
    assert first.tags["gzflow.training_fingerprint"] == "seed-1"
    second = register(settings, saved_model(2))
    registry = Registry(settings)
    assert registry.champion("toy") == first
    assert registry.alias("toy", "challenger") == second.version == "2"
    assert "challenger" in second.tags[DECISION]
    assert connect(settings).get_run(second.run_id).data.tags[DECISION] == second.tags[DECISION]
    connect(settings).set_registered_model_alias("gzflow-toy", "champion", "2")
    assert registry.champion("toy").version == "2"


def test_a_champion_loads_as_it_was_saved(settings: Settings, saved_model: SavedModel) -> None:
    register(settings, saved_model(1))
    loaded = Morphology.load(Registry(settings).champion("toy").folder).state_dict()
    original = Morphology.load(saved_model(1)).state_dict()
    assert all(torch.equal(loaded[name], original[name]) for name in original)


def test_without_champion_the_message_says_what_to_run(settings: Settings) -> None:
    with pytest.raises(NoChampion, match="survey 'toy' has no champion yet") as caught:
        Registry(settings).champion("toy")
    assert "gzflow train toy" in str(caught.value)


def test_every_form_of_reference_is_pinned_to_a_version(settings: Settings, saved_model: SavedModel) -> None:
    first = register(settings, saved_model(1))
    second = register(settings, saved_model(2))
    registry = Registry(settings)
    for reference in ("models:/gzflow-toy/1", "models:/gzflow-toy@champion"):
        assert registry.resolve(reference) == first
    for reference in ("2", "challenger", "@challenger"):
        assert registry.resolve(reference, "toy") == second
    local = registry.resolve(saved_model(1))
    assert (local.version, local.folder, local.uri) == (None, saved_model(1), saved_model(1).as_uri())


@pytest.mark.parametrize(
    ("reference", "error", "message"),
    [
        ("models:/gzflow-toy@champion", NoChampion, "there is no model gzflow-toy with alias champion"),
        ("models:/gzflow-toy/9", TrackingError, "there is no model gzflow-toy version 9"),
        ("models:/gzflow-toy", TrackingError, "names no model version"),
        ("no/such/folder", TrackingError, "neither a registered model nor a saved one"),
        ("7", TrackingError, "version 7"),
    ],
)
def test_references_to_nothing_are_explained(settings: Settings, reference: str, error: type, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        Registry(settings).resolve(reference, "toy")
    assert "to fix:" in str(caught.value)


def test_a_version_that_others_registered_is_refused(settings: Settings) -> None:
    client = connect(settings)
    client.create_registered_model("gzflow-toy")
    client.create_model_version("gzflow-toy", source="/somewhere/else")
    with pytest.raises(TrackingError, match="was not registered by gzflow"):
        Registry(settings).resolve("models:/gzflow-toy/1")


def test_surveys_do_not_share_champions(settings: Settings, saved_model: SavedModel) -> None:
    register(settings, saved_model(1), "toy")
    assert register(settings, saved_model(2), "rings").tags[DECISION] == "no champion before"


def test_a_torn_model_is_not_registered(settings: Settings, saved_model: SavedModel, tmp_path: Path) -> None:
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "model.json").write_bytes((saved_model(1) / "model.json").read_bytes())
    (torn / "model.safetensors").write_bytes((saved_model(2) / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match="is not the file"):
        register(settings, torn)
    assert connect(settings).search_registered_models() == []


def test_a_failed_upload_leaves_no_model_behind(settings: Settings, saved_model: SavedModel, monkeypatch) -> None:
    with TrackedRun(settings, "toy") as run:
        registry = Registry(settings)
        monkeypatch.setattr(registry.client, "log_model_artifacts", _disk_full)
        with pytest.raises(TrackingError, match="disk is full"):
            registry.register(saved_model(1), run)
    assert list(registry.client.search_logged_models([run.experiment_id])) == []
    assert registry.alias("toy", "champion") is None


def _disk_full(*arguments: object) -> None:
    raise OSError("disk is full")


def test_the_pyfunc_gives_what_the_model_gives_without_pickle(
    settings: Settings, saved_model: SavedModel, monkeypatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    register(settings, saved_model(1))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    served = mlflow.pyfunc.load_model("models:/gzflow-toy@champion")
    images = np.random.default_rng(0).integers(0, 255, (5, 40, 40, 3), dtype=np.uint8)
    table = served.predict(images, params={"n_samples": 7, "seed": 3})

    model = Morphology.load(saved_model(1))
    assert {param.name: param.default for param in served.metadata.get_params_schema()}["n_samples"] == 12
    with torch.inference_mode():
        concentrations = model.concentrations(images, 7, seed=3).numpy()
    expected = fractions(concentrations, model.tree)
    found = table[[f"{answer}_fraction" for answer in model.tree.answers]].to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    asked = table[["shape_proportion-asked", "arms_proportion-asked"]].to_numpy()
    np.testing.assert_allclose(asked, model.tree.proportion_asked(expected), rtol=1e-5)
    assert (table["shape_smooth_lower"] < table["shape_smooth_fraction"]).all()
    assert [column.name for column in served.metadata.signature.outputs] == list(table.columns)
    assert served.predict(images).equals(served.predict(images))
    with pytest.raises(ModelError, match=r"images of shape \(2, 20, 40, 3\) do not fit"):
        served.predict(np.zeros((2, 20, 40, 3), np.uint8))


def test_the_pyfunc_tells_which_galaxies_the_model_does_not_know(
    settings: Settings, saved_model: SavedModel, tmp_path: Path, monkeypatch
) -> None:
    import mlflow

    images = np.random.default_rng(0).integers(60, 120, (140, 40, 40, 3), dtype=np.uint8)
    model = Morphology.load(saved_model(1))
    cropped = central_crop(torch.from_numpy(images), model.spec.input_pixels)
    with torch.inference_mode():
        features, statistics = model.encode(cropped), image_statistics(cropped)
    model.support = Support.fit((features[:40], features[40:]), (statistics[:40], statistics[40:]))
    model.save(tmp_path / "known")
    register(settings, tmp_path / "known")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    served = mlflow.pyfunc.load_model("models:/gzflow-toy@champion")
    brighter = np.concatenate((images[40:50], images[40:50] + np.uint8(100)))
    table = served.predict(brighter)
    assert [column.name for column in served.metadata.signature.outputs] == list(table.columns)
    assert list(table.columns)[-13:] == [*SUPPORT, *STATISTICS]
    with torch.inference_mode():
        expected = model.support(features[40:50], statistics[40:50]).numpy()
    np.testing.assert_allclose(table[[*SUPPORT]].to_numpy()[:10], expected, atol=0.03)
    assert (table["support"][:10] > 0.05).sum() >= 8
    assert (table["support"][10:] < 0.05).all()
    assert list(served.predict(images[:0]).columns) == list(table.columns)


def test_no_file_of_a_registered_model_is_a_pickle(settings: Settings, saved_model: SavedModel) -> None:
    folder = register(settings, saved_model(1)).folder.parents[1]
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"MLmodel", "pyfunc.py", "model.json", "model.safetensors"} <= names
    assert not {name for name in names if name.endswith((".pkl", ".pt", ".pth", ".ckpt"))}
    example = json.loads((folder / "input_example.json").read_text())
    assert np.asarray(example).shape == (1, 32, 32, 3)


def test_threads_register_side_by_side(settings: Settings, saved_model: SavedModel) -> None:
    failures: list[BaseException] = []

    def one(n: int) -> None:
        try:
            register(settings, saved_model(n), f"toy{n}")
        except BaseException as error:  # noqa: BLE001 - a thread's error is only seen if it is carried out
            failures.append(error)

    for n in (1, 2):
        saved_model(n)
    threads = [threading.Thread(target=one, args=(n,)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for n in (1, 2):
        folder = Registry(settings).champion(f"toy{n}").folder
        assert (folder / "model.json").read_bytes() == (saved_model(n) / "model.json").read_bytes()
