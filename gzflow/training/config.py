"""How to train, with the defaults."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gzflow.model.spec import RANGE, default_input_pixels
from gzflow.recipe import ImageRecipe

SMALL_SET = 5_000
"""Training galaxies below which ``"auto"`` values are those for a small set."""


class TrainConfig(BaseModel):
    """All that decides a training run beside the shards.

    ``"auto"`` values follow the number of training galaxies and the size of their images; `resolve` settles them, and
    what a run used is saved beside its checkpoints.

    Attributes
    ----------
    encoder
        Name of a torchvision classifier.
    stem_stride
        Stride of the encoder's first convolution; None is the architecture's own.
    input_pixels
        Side of what the encoder sees; "auto": see `gzflow.model.spec.default_input_pixels`.
    dropout
        Before the head.
    concentrations
        Range of the head's outputs; (1, 101) is Zoobot's, see `gzflow.model.spec.RANGE` for why it is not ours.
    epochs
        At most; the learning rate follows a cosine to the last of them.
    patience
        Epochs without a better validation loss before training stops.
    batch_size
        Galaxies a step, over all devices. "auto": 32 for small sets, else 128.
    lr, weight_decay
        AdamW; weights alone decay, biases and normalisation layers do not.
    warmup
        Share of all steps over which the learning rate rises.
    final_lr
        Where the cosine ends, as a share of `lr`.
    clip
        Largest norm of the gradient.
    average
        Decay per step of the running average of the weights that is validated and saved; 0 switches it off. "auto":
        what averages over about half an epoch, at most 0.999.
    zoom, shift
        Augmentation beside rotation and mirroring: range of scales, and largest move as a share of the side.
    precision
        "auto": bfloat16 autocast on CUDA devices that have it, else float32.
    seed
        Of weights, order, augmentation and dropout.
    devices
        Number of accelerators, or of processes on a CPU.
    workers
        Loader processes. "auto": none on a CPU, which the network itself keeps busy; else one a core, 8 at most.
    compile
        Compile the encoder: a minute or more at the start, faster steps after.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str = "efficientnet_b0"
    stem_stride: Annotated[int, Field(ge=1, le=8)] | None = None
    input_pixels: Annotated[int, Field(ge=16)] | Literal["auto"] = "auto"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    concentrations: tuple[Annotated[float, Field(gt=0)], float] = RANGE
    epochs: Annotated[int, Field(ge=1)] = 50
    patience: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.01
    clip: Annotated[float, Field(gt=0)] = 0.3
    average: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = "auto"
    zoom: tuple[Annotated[float, Field(gt=0.2)], Annotated[float, Field(lt=5)]] = (0.9, 1.1)
    shift: Annotated[float, Field(ge=0, le=0.25)] = 0.03
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    seed: Annotated[int, Field(ge=0)] = 42
    devices: Annotated[int, Field(ge=1)] = 1
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    compile: bool = False

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if self.zoom[0] > self.zoom[1]:
            raise ValueError(f"zoom runs from {self.zoom[0]} down to {self.zoom[1]}: put the smaller scale first")
        if self.concentrations[0] >= self.concentrations[1]:
            raise ValueError(f"concentrations run from {self.concentrations[0]} down to {self.concentrations[1]}")
        return self

    def resolve(self, n_train: int, recipe: ImageRecipe) -> TrainConfig:
        """The same with every "auto" that decides the result replaced by its value for these shards."""
        batch_size = self.batch_size
        if batch_size == "auto":
            batch_size = 32 if n_train < SMALL_SET else 128
        average = self.average
        if average == "auto":
            average = round(min(0.999, max(0.9, 1 - 2 * batch_size / max(n_train, 1))), 4)
        pixels = default_input_pixels(recipe.pixels) if self.input_pixels == "auto" else self.input_pixels
        return self.model_copy(update={"batch_size": batch_size, "average": average, "input_pixels": pixels})

    @property
    def fingerprint(self) -> str:
        """16 hex digits of all that decides the result; not of how it is computed."""
        values = self.model_dump(mode="json", exclude={"workers"})
        return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=8).hexdigest()
