"""A saved model in the form that MLflow loads and serves without pickle."""

from __future__ import annotations

import shutil
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

import gzflow
from gzflow.dictionary import SUPPORT
from gzflow.model.spec import ModelSpec
from gzflow.tracking.client import quiet
from gzflow.tree import DecisionTree

if TYPE_CHECKING:
    from gzflow.model.support import Support

_one_at_a_time = Lock()


def output_columns(tree: DecisionTree, support: Support | None) -> tuple[str, ...]:
    """Columns of the served predictions, in order; those of the model's support, as in a catalogue, come last."""
    columns: list[str] = []
    for question in tree.questions:
        columns += [f"{name}_{part}" for name in question.columns for part in ("fraction", "std", "lower", "upper")]
        columns.append(f"{question.name}_proportion-asked")
    if support is not None:
        from gzflow.model.image_statistics import statistic_names

        columns += [*SUPPORT, *statistic_names(support.quantiles.shape[1])]
    return tuple(columns)


def save_served(model_folder: Path, spec: ModelSpec, target: Path, *, model_id: str, run_id: str) -> Path:
    """The folder, under `target`, of a pyfunc model from code: weights, description, code, signature.

    Parameters
    ----------
    model_folder
        What `Morphology.save` wrote.
    target
        An existing, empty folder.
    """
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    from gzflow.model import morphology

    support = morphology.read_support(model_folder)
    staged = target / "morphology"
    staged.mkdir()
    for name in (morphology.DESCRIPTION, morphology.WEIGHTS, *([morphology.SUPPORT] if support else [])):
        shutil.copyfile(model_folder / name, staged / name)
    channels = spec.recipe.n_channels
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, channels))]),
        outputs=Schema([ColSpec("double", name) for name in output_columns(spec.tree, support)]),
        params=ParamSchema(
            [
                ParamSpec("n_samples", "long", spec.samples),
                ParamSpec("seed", "long", 0),
                ParamSpec("level", "double", 0.9),
            ]
        ),
    )
    saved = target / "served"
    # MLflow runs the file to see what it makes, and hands the object over through a global.
    with _one_at_a_time, quiet("mlflow.pyfunc"):
        mlflow.pyfunc.save_model(
            path=str(saved),
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            artifacts={"morphology": str(staged)},
            signature=signature,
            input_example=np.zeros((1, spec.input_pixels, spec.input_pixels, channels), dtype=np.uint8),
            # Named, so that MLflow does not guess by importing everything.
            pip_requirements=[f"gzflow=={gzflow.__version__}"],
            mlflow_model=Model(model_id=model_id, run_id=run_id),
        )
    return saved
