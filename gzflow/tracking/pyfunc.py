"""The model as MLflow serves it: ``mlflow.pyfunc.load_model("models:/gzflow-<survey>@champion")``.

MLflow copies this file beside the weights and runs it when the model is loaded (models from code), so nothing is
unpickled. It is executed by its path: it must not be imported for its contents.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from gzflow.dictionary import SUPPORT
from gzflow.model.image_statistics import image_statistics, statistic_names
from gzflow.model.morphology import Morphology, central_crop
from gzflow.posterior import fractions, intervals, proportions_asked, variances

BATCH = 128


class ServedMorphology(PythonModel):
    """Images in, the catalogue's columns out.

    `predict` takes uint8 images (n, H, W, C) as a NumPy array, as a shard holds them, and returns one row a galaxy:
    ``{question}_{answer}_fraction``, ``_std``, ``_lower`` and ``_upper`` (the central interval of `level`), and
    ``{question}_proportion-asked``; where the model has a support also ``support``, ``support_features``,
    ``support_image`` and the statistics ``image_...``, as a catalogue has them. Parameters: ``n_samples`` (the model's
    number), ``seed`` (0) and ``level`` (0.9).
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load weights and description."""
        self.model = Morphology.load(Path(context.artifacts["morphology"]))

    def predict(self, model_input: np.ndarray, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row a galaxy; see the class."""
        options = {"n_samples": self.model.spec.samples, "seed": 0, "level": 0.9} | (params or {})
        images = np.asarray(model_input)
        parts, beside = [], []
        support = self.model.support
        with torch.inference_mode():
            for start in range(0, len(images), BATCH):
                batch = torch.from_numpy(images[start : start + BATCH])
                features = self.model.encode(batch)
                sampled = self.model.head.sample(
                    features,
                    int(options["n_samples"]),
                    seed=int(options["seed"]),
                    keys=torch.arange(start, start + len(batch), device=self.model.device),
                )
                parts.append(sampled.cpu().numpy())
                if support is not None:
                    statistics = image_statistics(central_crop(batch, self.model.spec.input_pixels))
                    beside.append(torch.cat((support(features, statistics), statistics), 1))
        tree = self.model.tree
        concentrations = np.concatenate(parts) if parts else np.ones((0, 1, len(tree.answers)), dtype=np.float32)
        mean = fractions(concentrations, tree)
        lower, upper = intervals(concentrations, tree, float(options["level"]))
        std = np.sqrt(variances(concentrations, tree))
        asked = proportions_asked(concentrations, tree)
        columns = {}
        for q, (question, part) in enumerate(zip(tree.questions, tree.slices, strict=True)):
            for column in range(part.start, part.stop):
                name = tree.answers[column]
                columns[f"{name}_fraction"] = mean[:, column]
                columns[f"{name}_std"] = std[:, column]
                columns[f"{name}_lower"] = lower[:, column]
                columns[f"{name}_upper"] = upper[:, column]
            columns[f"{question.name}_proportion-asked"] = asked[:, q]
        if support is not None:
            names = (*SUPPORT, *statistic_names(support.quantiles.shape[1]))
            values = torch.cat(beside) if beside else torch.zeros(0, len(names))
            columns |= dict(zip(names, values.double().numpy().T, strict=True))
        return pd.DataFrame(columns)


set_model(ServedMorphology())
