"""The model that a training run starts from."""

from __future__ import annotations

from pathlib import Path

import torch

from gzflow.model.encoders import starting_point
from gzflow.model.losses import constant_dirichlet, unidentified
from gzflow.model.morphology import Morphology
from gzflow.model.spec import ModelSpec, SurveyTree
from gzflow.shards.reader import ShardSet
from gzflow.training.config import FineTuneConfig
from gzflow.training.data import channel_statistics
from gzflow.training.run import Run


def new_model(run: Run) -> Morphology:
    """Random weights by the seed, or the parent's; a head that starts from the constant Dirichlet of its votes."""
    shards, config, parent = run.shards, run.config, run.parent
    assert isinstance(config.input_pixels, int)
    start = starting_point(config.encoder, Path(config.encoder_weights) if config.encoder_weights else None)
    arguments = parent.model.spec.encoder_arguments if parent is not None else start.arguments
    if isinstance(config, FineTuneConfig) and config.normalisation == "parent":
        assert parent is not None
        mean, std = parent.model.spec.mean, parent.model.spec.std
    else:
        mean, std = channel_statistics(shards, run.rows, grey=bool(config.grey))
    notes = {} if parent is None else parent.notes(shards.recipe)
    if config.labels is not None:
        notes["labels"] = f"{config.labels} of {shards.n('train')} training galaxies"
    spec = ModelSpec(
        encoder=start.encoder,
        encoder_arguments=dict(arguments),
        stem_stride=config.stem_stride,
        grey=bool(config.grey),
        likelihood=config.likelihood,
        components=config.components,
        dropout=config.dropout,
        samples=config.samples,
        concentrations=config.concentrations,
        trees=_trees(shards),
        recipe=shards.recipe,
        input_pixels=config.input_pixels,
        mean=mean,
        std=std,
        unidentified=unidentified(run.votes, shards.tree),
        training_fingerprint=run.fingerprint,
        training=config.model_dump(mode="json"),
        notes=notes,
    )
    low, high = config.concentrations
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Morphology(spec, start.weights)
        model.head.start_from(constant_dirichlet(run.votes, shards.tree, (low + 0.05, high - 1)))
    if parent is not None:
        model.encoder.load_state_dict(parent.model.encoder.state_dict())
    return model


def _trees(shards: ShardSet) -> tuple[SurveyTree, ...]:
    """Of each survey; where there are several, with its recipe."""
    recipes = [part.recipe if len(shards.parts) > 1 else None for part in shards.parts]
    return tuple(
        SurveyTree(survey=part.survey, tree=part.tree.to_dict(), recipe=recipe)
        for part, recipe in zip(shards.parts, recipes, strict=True)
    )
