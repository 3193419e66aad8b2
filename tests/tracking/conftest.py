from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gzflow.model.morphology import Morphology
from gzflow.model.spec import ModelSpec, SurveyTree
from gzflow.recipe import ImageRecipe
from gzflow.settings import Settings
from gzflow.tracking.client import connect
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree(
    (
        Question("shape", ("smooth", "featured")),
        Question("arms", ("1", "2", "more"), ("shape=featured",)),
    )
)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new SQLite store; its migrations take seconds, so tests copy it."""
    home = tmp_path_factory.mktemp("store")
    connect(Settings.load({}, home=home))
    return home / "mlflow" / "mlflow.db"


@pytest.fixture
def settings(empty_store: Path, tmp_path: Path) -> Settings:
    (tmp_path / "home" / "mlflow").mkdir(parents=True)
    shutil.copyfile(empty_store, tmp_path / "home" / "mlflow" / "mlflow.db")
    return Settings.load({}, home=tmp_path / "home")


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Folders of small untrained models, one a seed."""
    root = tmp_path_factory.mktemp("models")

    def make(seed: int) -> Path:
        folder = root / str(seed)
        if not folder.exists():
            torch.manual_seed(seed)
            recipe = ImageRecipe(pixels=32)
            spec = ModelSpec(
                encoder="shufflenet_v2_x0_5",
                trees=(SurveyTree(survey="toy", tree=TREE.to_dict()),),
                recipe=recipe,
                input_pixels=32,
                mean=(60.0,) * 3,
                std=(40.0,) * 3,
                training_fingerprint=f"seed-{seed}",
                samples=12,
            )
            Morphology(spec).save(folder)
        return folder

    return make
