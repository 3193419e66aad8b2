from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from gzflow import load_survey
from gzflow.durable import write_json
from gzflow.prediction.export import part_table, write_part
from gzflow.prediction.predict import PredictionPart
from gzflow.settings import Settings

TREE = load_survey("decals").tree
SIZES = {"train": 70, "validation": 0, "test": 31}
SAMPLES = 3
METADATA = {
    "survey": "decals",
    "citation": "Walmsley et al. 2022 – “DECaLS”",
    "acknowledgement": "Thanks to the volunteers & " + "Gálvez, " * 30,
    "licence": "CC BY 4.0",
    "model_uri": "models:/gzflow-decals/1",
    "samples": SAMPLES,
    "seed": 42,
    "odd_new_fact": "something that a later gzflow notes",
}


class Run(NamedTuple):
    settings: Settings
    folder: Path
    concentrations: np.ndarray
    ids: list[str]


def write_run(folder: Path, *, keep: bool = True, ids: list[str] | None = None) -> tuple[np.ndarray, list[str]]:
    """A finished prediction run of made-up concentrations."""
    rng = np.random.default_rng(3)
    n = sum(SIZES.values())
    concentrations = rng.uniform(1, 101, (n, SAMPLES, len(TREE.answers))).astype(np.float32)
    ids = ids or [str(587722981741166700 + i) + "x" * (i % 3) for i in range(n)]
    ra, dec = rng.uniform(0, 360, n), rng.uniform(-90, 90, n)
    ra[5] = dec[5] = np.nan
    start, entries = 0, []
    for split, size in SIZES.items():
        rows = slice(start, start + size)
        start += size
        part = PredictionPart(ids[rows], ra[rows], dec[rows], concentrations[rows])
        name = f"part-{split}-00000.parquet"
        write_part(folder / name, part_table(part, TREE, METADATA | {"split": split}, keep_concentrations=keep))
        entries.append({"file": name, "shard": f"{split}-00000.h5", "n": size, "split": split})
    write_json(folder / "manifest.json", {"survey": "decals", "entries": entries})
    return concentrations, ids


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = Settings.load({}, home=tmp_path_factory.mktemp("export") / "home")
    folder = settings.predictions("decals") / "v1-abcd1234"
    return Run(settings, folder, *write_run(folder))
