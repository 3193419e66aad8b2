"""A model that is a pickle is refused wherever a model is loaded, and nothing of it is run."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel

from gzflow.errors import ModelError, TrackingError
from gzflow.model.morphology import Morphology
from gzflow.stages.scoring import load_evaluation
from gzflow.tracking.client import connect
from gzflow.tracking.registry import MODEL_ID, Registry
from gzflow.tracking.run import TrackedRun
from gzflow.training.finetuning import Parent


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


class Pickled(PythonModel):
    def predict(self, model_input: list[float]) -> list[float]:
        return model_input


@pytest.fixture
def trace(tmp_path: Path):
    trace = tmp_path / "it-was-run"
    yield trace
    assert not trace.exists(), "a pickle was loaded"


def as_pickle(bomb: Bomb) -> bytes:
    return pickle.dumps({"head.weight": bomb})


def as_torch(bomb: Bomb) -> bytes:
    stream = io.BytesIO()
    torch.save({"head.weight": bomb}, stream)
    return stream.getvalue()


@pytest.mark.parametrize("form", [as_pickle, as_torch])
@pytest.mark.parametrize("load", [Morphology.load, Parent.open], ids=["as it is", "to fine-tune"])
def test_weights_that_are_a_pickle_are_refused(form, load, saved_model, trace: Path, tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(saved_model(1), folder)
    content = form(Bomb(trace))
    (folder / "model.safetensors").write_bytes(content)
    description = json.loads((folder / "model.json").read_text())
    # Whoever forges weights forges their hash as well.
    forged = description | {"weights_blake2b": hashlib.blake2b(content, digest_size=16).hexdigest()}
    (folder / "model.json").write_text(json.dumps(forged))
    with pytest.raises(ModelError, match="do not fit"):
        load(folder)


def test_a_registered_pickle_is_refused_by_gzflow_and_by_mlflow(settings, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    client = connect(settings)
    with TrackedRun(settings, "toy") as run, monkeypatch.context() as allowed:
        allowed.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
        mlflow.pyfunc.save_model(tmp_path / "pickled", python_model=Pickled(), pip_requirements=[])
        logged = client.create_logged_model(run.experiment_id, name="pickled", source_run_id=run.id)
        client.log_model_artifacts(logged.model_id, str(tmp_path / "pickled"))
        client.finalize_logged_model(logged.model_id, "READY")
    source = client.get_logged_model(logged.model_id).artifact_location
    client.create_registered_model("gzflow-toy")
    client.create_model_version("gzflow-toy", source, model_id=logged.model_id)
    client.create_model_version("gzflow-toy", source, model_id=logged.model_id, tags={MODEL_ID: logged.model_id})
    with pytest.raises(TrackingError, match="was not registered by gzflow"):
        Registry(settings).resolve("models:/gzflow-toy/1")
    # Tagged as one of gzflow's, it still has no weights that gzflow would read.
    with pytest.raises((ModelError, TrackingError)):
        Morphology.load(Registry(settings).resolve("models:/gzflow-toy/2").folder)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    with pytest.raises(MlflowException, match=r"(?i)pickle"):
        mlflow.pyfunc.load_model("models:/gzflow-toy/2")


def test_test_galaxies_that_are_a_pickle_are_refused(saved_model, trace: Path, tmp_path: Path):
    shutil.copytree(saved_model(1), tmp_path / "model")
    np.savez(tmp_path / "test.npz", ids=np.array([Bomb(trace)], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        load_evaluation(tmp_path)
