"""What a fine-tune takes over from its parent, and what of it learns how fast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import nn

from gzflow.errors import TrainingError
from gzflow.model.blocks import encoder_blocks
from gzflow.model.ensemble import member
from gzflow.model.morphology import Morphology, read_fingerprint, read_spec
from gzflow.model.spec import JOINT
from gzflow.recipe import ImageRecipe
from gzflow.training.config import PARENT, FineTuneConfig, TrainConfig


@dataclass(frozen=True)
class Parent:
    """The model that a fine-tune starts from.

    Attributes
    ----------
    model
        As it was saved; of an ensemble, its first member.
    fingerprint
        Of its weights and of how it feeds them.
    """

    folder: Path
    model: Morphology
    fingerprint: str

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The model in `folder`; see `Morphology.load` for the errors."""
        return cls(Path(folder), member(Morphology.load(folder), 0), read_fingerprint(folder))

    def settle(self, config: TrainConfig, recipe: ImageRecipe) -> FineTuneConfig:
        """`config` with everything filled in that is the parent's.

        Parameters
        ----------
        recipe
            Of the new images. It may differ from the parent's (`notes` then says how), but for channels and pixels:
            other channels do not fit the first convolution, and at another size galaxies would have another scale.

        Raises
        ------
        TrainingError
            Naming all contradictions between the configuration, the images and the parent.
        """
        spec = self.model.spec
        if not isinstance(config, FineTuneConfig):
            raise TrainingError(
                "a parent was given to a training from scratch",
                where=str(self.folder),
                fix="pass a FineTuneConfig, or leave the parent out",
            )
        n_blocks = len(encoder_blocks(self.model.encoder))
        problems = [
            f"{key}: {wanted!r} is asked for, the parent has {own!r}"
            for key, wanted, own, unsaid in (
                ("encoder", config.encoder, spec.encoder, PARENT),
                ("stem_stride", config.stem_stride, spec.stem_stride, None),
                ("input_pixels", config.input_pixels, spec.input_pixels, "auto"),
                ("grey", config.grey, spec.grey, None),
                ("encoder_weights", config.encoder_weights, None, None),
            )
            if wanted not in {unsaid, own}
        ]
        if config.blocks != "all" and config.blocks > n_blocks:
            problems.append(f"blocks: {config.blocks} are to learn, {spec.encoder} has {n_blocks}")
        if recipe.n_channels != spec.recipe.n_channels:
            colours = {1: "grey", 3: "colour"}
            problems.append(
                f"channels: the parent was trained on {colours[spec.recipe.n_channels]} images, "
                f"the shards hold {colours[recipe.n_channels]} ones"
            )
        if recipe.pixels != spec.recipe.pixels:
            problems.append(
                f"pixels: the parent was trained on images of {spec.recipe.pixels} px, the shards' have {recipe.pixels}"
            )
        if problems:
            raise TrainingError(
                "the fine-tune contradicts its parent",
                where=f"parent of survey {spec.survey} in {self.folder}",
                problems=problems,
                expected=f"{spec.encoder} with {n_blocks} blocks on {spec.recipe.channels} images of "
                f"{spec.recipe.pixels} px, of which it sees {spec.input_pixels}",
                fix="leave encoder, stem_stride and input_pixels to the parent; make shards with its channels and "
                f"pixels (--pixels {spec.recipe.pixels})",
            )
        own: dict[str, Any] = {"encoder": spec.encoder, "stem_stride": spec.stem_stride}
        # A colour parent has nothing to say: what a fine-tune of before `grey` was called stays its name.
        own |= {"input_pixels": spec.input_pixels, "grey": spec.grey or None}
        return config.model_copy(update=own | ({"blocks": n_blocks} if config.blocks == "all" else {}))

    def notes(self, recipe: ImageRecipe) -> dict[str, str]:
        """What the new model says about its parent."""
        spec = self.model.spec
        notes = {
            "parent": spec.training_fingerprint or self.fingerprint,
            "parent_survey": spec.survey,
            "parent_fingerprint": self.fingerprint,
        }
        if (n := read_spec(self.folder).members) > 1:
            notes["parent_member"] = f"the first of {n}"
        if joint := ", ".join(spec.surveys) if len(spec.trees) > 1 else spec.notes.get(JOINT):
            notes[JOINT] = joint
        if differences := spec.recipe.differences(recipe):
            notes["parent_recipe"] = "; ".join(
                d.replace(" here, ", " in the parent, ").replace(" there", " here") for d in differences
            )
        return notes


def freeze(model: Morphology, config: FineTuneConfig) -> tuple[nn.Module, ...]:
    """Take the gradient from all blocks but the top ones; the modules that are to stay in evaluation mode.

    In evaluation mode normalisations leave their running statistics alone, and nothing is dropped at random.
    """
    blocks = encoder_blocks(model.encoder)
    frozen = blocks[: len(blocks) - _learning(config)]
    for block in frozen:
        for parameter in block.parameters():
            parameter.requires_grad_(requires_grad=False)
    still = [module for block in frozen for module in block.modules]
    if config.statistics == PARENT:
        still += [module for module in model.encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    return tuple(still)


def parameter_groups(model: Morphology, config: TrainConfig) -> list[dict[str, Any]]:
    """AdamW's groups, the fastest first: biases and normalisation layers do not decay, nor does what is frozen.

    In a fine-tune the head has the full rate, the top block `FineTuneConfig.layer_decay` of it, and so on downwards.
    """
    parts: list[tuple[str, list[nn.Parameter], float]] = [("model", list(model.parameters()), config.lr)]
    if isinstance(config, FineTuneConfig):
        parts = [("head", list(model.head.parameters()), config.lr)]
        learning = encoder_blocks(model.encoder)[::-1][: _learning(config)]
        for depth, block in enumerate(learning, start=1):
            parts.append((block.name, list(block.parameters()), config.lr * config.layer_decay**depth))
    groups: list[dict[str, Any]] = []
    for name, parameters, lr in parts:
        weights = [p for p in parameters if p.ndim > 1]
        others = [p for p in parameters if p.ndim <= 1]
        for chosen, decay in ((weights, config.weight_decay), (others, 0.0)):
            if chosen:
                groups.append({"name": name, "params": chosen, "lr": lr, "weight_decay": decay})
    return groups


def _learning(config: FineTuneConfig) -> int:
    assert isinstance(config.blocks, int)  # settled
    return config.blocks
