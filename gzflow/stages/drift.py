"""The report that a prediction ends with: whether its galaxies are like those that the model was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gzflow.durable import write_bytes, write_json
from gzflow.evaluation.drift import Drift, DriftCount
from gzflow.evaluation.figures import figure_png
from gzflow.evaluation.figures.drift import drift_figure
from gzflow.model.image_statistics import statistic_names
from gzflow.model.morphology import read_support
from gzflow.model.support import FALSE_ALARMS
from gzflow.settings import Settings
from gzflow.stages.run_file import folder_run
from gzflow.tracking.run import Lineage, run_exists

DRIFT = "drift.json"
PICTURE = "drift.png"


def report_drift(model_folder: Path, folder: Path, parts: Iterable[Path]) -> Drift | None:
    """What a catalogue's parts say together, written beside them; None if the model has no support."""
    support = read_support(model_folder)
    if support is None:
        return None
    names = statistic_names(support.quantiles.shape[1])
    count = DriftCount(
        names,
        support.quantiles.numpy(),
        n_known=len(support.features.known),
        n_held_out=len(support.least),
        false_alarms=FALSE_ALARMS,
    )
    for part in parts:
        table = pq.read_table(part, columns=["support", "support_features", *names])
        columns = [table.column(name).to_numpy() for name in ("support", "support_features", *names)]
        count.add(columns[0], columns[1], np.column_stack(columns[2:]))
    drift = count.result()
    write_json(folder / DRIFT, asdict(drift) | {"drifts": drift.drifts, "sentence": drift.sentence()})
    write_bytes(folder / PICTURE, figure_png(drift_figure(drift)))
    return drift


def log_drift(
    drift: Drift,
    folder: Path,
    settings: Settings,
    survey: str,
    pinned: Mapping[str, Any],
    flow_run: tuple[str, str] | None,
) -> None:
    """Note the report in MLflow, in a run of the catalogue below the one that made its model; again, it is gone on."""
    made_by = str(pinned["run_id"])
    fingerprints = pinned["tree_fingerprint"], pinned["shard_fingerprint"]
    lineage = Lineage(*fingerprints, pinned["model_uri"], *(flow_run or ()))
    with folder_run(
        folder,
        settings,
        survey,
        name=f"prediction {folder.name}",
        lineage=lineage,
        tags={"gzflow.kind": "prediction"},
        parent_run_id=made_by if made_by and run_exists(settings, made_by) else None,
    ) as run:
        run.log_results(drift.metrics())
        run.log_file(folder / DRIFT)
        run.log_file(folder / PICTURE, "figures")
