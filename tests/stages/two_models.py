"""A home with shards, and models that are good or bad on purpose: each answers the same for every galaxy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gzflow.model.losses import constant_dirichlet
from gzflow.model.morphology import Morphology
from gzflow.model.spec import ModelSpec, SurveyTree
from gzflow.settings import Settings
from gzflow.shards.header import ShardHeader
from gzflow.shards.reader import ShardSet
from gzflow.shards.writer import begin_set, write_manifest, write_shard
from gzflow.stages.leakage import GALAXIES, write_galaxies
from gzflow.surveys import load_survey
from gzflow.tracking.registry import ModelRef, Registry
from gzflow.tracking.run import TrackedRun

TOML = """
[survey]
name = "toy"
[catalog]
id = "id_str"
image = "file"
[catalog.votes]
count = "{question}_{answer}"
[[question]]
name = "shape"
answers = ["smooth", "featured", "artifact"]
[[question]]
name = "arms"
answers = ["few", "many"]
asked_after = ["shape=featured"]
"""
SIZES = {"train": 60, "validation": 20, "test": 120}


def write_survey(folder: Path, text: str = TOML) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.toml").write_text(text)
    return str(folder / "toy.toml")


def write_shards(settings: Settings, toml: str, pixels: int = 32, sizes: dict[str, int] = SIZES) -> ShardSet:
    """Galaxies with volunteers' votes; the same galaxies whatever the pixels."""
    survey, generator = load_survey(toml), np.random.default_rng(8)
    folder = settings.shards(survey.name, pixels)
    begin_set(folder)
    entries = []
    for split, n in sizes.items():
        fractions = generator.dirichlet([2.0, 3.0, 0.5], n)
        first = np.stack([generator.multinomial(40, each) for each in fractions])
        second = np.stack([generator.multinomial(k, [0.7, 0.3]) for k in first[:, 1]])
        header = ShardHeader(
            survey=survey.name, tree=survey.tree.to_dict(), recipe=survey.image_recipe(pixels), split=split
        )
        entry = write_shard(
            folder / f"{split}-00000.h5",
            header,
            images=np.random.default_rng(1).integers(0, 255, (n, pixels, pixels, 3), dtype=np.uint8),
            votes=np.hstack([first, second]).astype(np.int32),
            ids=[f"{split}-{row}" for row in range(n)],
            ra=generator.uniform(100, 200, n),
            dec=generator.uniform(-20, 20, n),
            pixscale=np.full(n, 0.3),
        )
        entries.append(entry)
    write_manifest(folder, header, entries)
    return ShardSet.open(folder)


def save_model(folder: Path, shards: ShardSet, precision: float = 1.0) -> Path:
    """A model that answers the volunteers' mean everywhere, as surely as they vary, times `precision`."""
    spec = ModelSpec(
        encoder="shufflenet_v2_x0_5",
        trees=(SurveyTree(survey=shards.survey, tree=shards.tree.to_dict()),),
        recipe=shards.recipe,
        input_pixels=shards.recipe.pixels,
        mean=(127.0,) * 3,
        std=(70.0,) * 3,
        training_fingerprint=f"{shards.recipe.pixels}px-{precision:g}",
    )
    torch.manual_seed(1)
    model = Morphology(spec)
    model.head.start_from(precision * constant_dirichlet(shards.votes("test"), shards.tree))
    torch.nn.init.zeros_(model.head.linear.weight)
    model.save(folder)
    return folder


def register(settings: Settings, folder: Path, shards: ShardSet, *, galaxies: bool = True) -> ModelRef:
    """A saved model as a version, with a run that says what it was trained on."""
    with TrackedRun(settings, shards.survey, name=folder.name) as run:
        if galaxies:
            write_galaxies(shards, folder / GALAXIES)
            run.log_file(folder / GALAXIES)
        return Registry(settings).register(folder, run)
