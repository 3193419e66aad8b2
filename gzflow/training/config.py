"""How to train, with the defaults."""

from __future__ import annotations

import hashlib
import json
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gzflow.model.spec import RANGE, default_input_pixels
from gzflow.recipe import ImageRecipe

SMALL_SET = 5_000
"""Training galaxies below which ``"auto"`` values are those for a small set."""


EncoderName = Annotated[str, Field(json_schema_extra={"pattern": r"^([a-z][a-z0-9_]*|timm:[\w./:-]+)$"})]
BEFORE = MappingProxyType(
    {
        "encoder_weights": None,
        "grey": None,
        "likelihood": "dirichlet-multinomial",
        "samples": 20,
        "members": 1,
        "components": 1,
        "head_epochs": 0,
    }
)
"""Options that came after the first release of the run folders' names, and what runs without them did."""


class TrainConfig(BaseModel):
    """All that decides a training run beside the shards.

    ``"auto"`` values follow the number of training galaxies and the size of their images; `resolve` settles them, and
    what a run used is saved beside its checkpoints.
    """

    # The texts below the fields are also what a form shows beside them.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    encoder: EncoderName = "efficientnet_b0"
    """Name of a torchvision classifier; "timm:" and a name of timm, "timm:hf_hub:" and a repository of the Hugging Face
    hub (its weights are taken too), or "w20"."""
    encoder_weights: Annotated[str, Field(min_length=1)] | None = None
    """Path of a safetensors file with weights to start from, such as ImageNet's. Empty: random ones."""
    grey: bool | None = None
    """Average the colours: the model cannot learn from them. Empty: the images stay as they are."""
    likelihood: Literal["dirichlet-multinomial", "multinomial"] = "dirichlet-multinomial"
    """Of the votes. "multinomial": the model gives bare fractions, sure of each, and only dropout tells how sure it is;
    with two answers that is the binomial loss of Walmsley et al. 2020."""
    stem_stride: Annotated[int, Field(ge=1, le=8)] | None = None
    """Stride of the encoder's first convolution. Empty: the architecture's own."""
    input_pixels: Annotated[int, Field(ge=16)] | Literal["auto"] = "auto"
    """Side of what the encoder sees. "auto": 224 of 300 stored pixels, all of 128 or fewer."""
    labels: Annotated[int, Field(ge=1)] | None = None
    """Train on so many of the training galaxies, chosen by `seed` and their ids: a smaller number's are among a larger
    one's. Empty, or more than there are: all. Validation and test galaxies stay as they are."""
    components: Annotated[int, Field(ge=1, le=10)] = 1
    """Dirichlets a question, mixed by weights that are learnt too. With several, intervals hold what they promise also
    where the image leaves a question open, and the likelihood is higher; of a few samples each is of one of them."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the features left out before the head."""
    concentrations: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=1)]] = RANGE
    """Range of the head's outputs. Zoobot's is (1, 101); below 1 the model can say that all will agree, not on what."""
    epochs: Annotated[int, Field(ge=1)] = 50
    """Most epochs; the learning rate follows a cosine to the last of them."""
    patience: Annotated[int, Field(ge=1)] = 10
    """Epochs without a better validation loss before training stops."""
    head_epochs: Annotated[int, Field(ge=0)] = 20
    """Epochs of the head alone, after the best one, on features that stay as they are; the head is kept as it was where
    they do not lower the validation loss."""
    batch_size: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"
    """Galaxies a step, over all devices. "auto": 32 for small sets, else 128."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Highest learning rate of AdamW."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Of AdamW; weights alone decay, biases and normalisation layers do not."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of all steps over which the learning rate rises."""
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Where the cosine ends, as a share of `lr`."""
    clip: Annotated[float, Field(ge=0)] = 0.3
    """Largest norm of the gradient; 0 leaves it alone."""
    average: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = "auto"
    """Decay per step of the running average of the weights that is validated and saved; 0 switches it off. "auto": what
    averages over about half an epoch, at most 0.999."""
    zoom: tuple[Annotated[float, Field(gt=0.2, le=1)], Annotated[float, Field(ge=1, lt=5)]] = (0.9, 1.1)
    """Augmentation beside rotation and mirroring: smallest and largest scale, 1 between them."""
    shift: Annotated[float, Field(ge=0, le=0.25)] = 0.03
    """Augmentation: largest move as a share of the image's side."""
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """Of the arithmetic. "auto": bfloat16 autocast on CUDA devices that have it, else float32."""
    samples: Annotated[int, Field(ge=1, le=1000)] = 20
    """Dropout samples a galaxy when the model is scored."""
    members: Annotated[int, Field(ge=1, le=20)] = 1
    """Networks that are trained, from `seed` and the seeds after it, and predict together as one model."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Of weights, order, augmentation and dropout."""
    devices: Annotated[int, Field(ge=1)] = 1
    """Number of accelerators, or of processes on a CPU."""
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Loader processes. "auto": none on a CPU, which the network itself keeps busy; else one a core, 8 at most."""
    compile: bool = False
    """Compile the encoder: a minute or more at the start, faster steps after."""

    @model_validator(mode="after")
    def _has_a_head(self) -> Self:
        if self.components > 1 and self.likelihood == "multinomial":
            raise ValueError("components: bare fractions have none; say 1, or likelihood dirichlet-multinomial")
        return self

    def resolve(self, n_train: int, recipe: ImageRecipe) -> Self:
        """The same with every "auto" that decides the result replaced by its value for these shards.

        Parameters
        ----------
        n_train
            Training galaxies that there are. `labels` of as many or more become None: all are used.
        """
        labels = None if self.labels is None or self.labels >= n_train else self.labels
        n_train = labels or n_train
        batch_size = self.batch_size
        if batch_size == "auto":
            batch_size = 32 if n_train < SMALL_SET else 128
        average = self.average
        if average == "auto":
            average = round(min(0.999, max(0.9, 1 - 2 * batch_size / max(n_train, 1))), 4)
        pixels = default_input_pixels(recipe.pixels) if self.input_pixels == "auto" else self.input_pixels
        return self.model_copy(
            update={"labels": labels, "batch_size": batch_size, "average": average, "input_pixels": pixels}
        )

    @property
    def fingerprint(self) -> str:
        """16 hex digits of all that decides the result; not of how it is computed."""
        values = self.model_dump(mode="json", exclude={"workers"})
        # A run of before these existed is found again by what it did.
        values = {name: value for name, value in values.items() if name not in BEFORE or value != BEFORE[name]}
        return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=8).hexdigest()


PARENT = "parent"


class FineTuneConfig(TrainConfig):
    """How to fine-tune: as `TrainConfig`, with other defaults and what is kept of the parent.

    Encoder, stem and input pixels are the parent's; a configuration that says otherwise is refused.

    The defaults are what served 200 labels of the simulated sky best, with a DECaLS-like ShuffleNet of five blocks as
    the parent (test NLL in nats a galaxy, one seed each: 0.2 says little). Hubble-like galaxies, three blocks:
    43.1 at lr 1e-4, 41.8 at 1e-3, 41.6 at 3e-3; the parent's statistics 41.8 instead of 41.6; dropout 0.2 41.9 instead
    of 41.6; the head alone 44.2. All blocks instead of three: 0.4 to 0.8 better in four of four comparisons. The new
    images' mean and standard deviation: 0.1 to 0.6 better in four of five comparisons, 0.2 worse on CANDELS-like ones.
    """

    encoder: EncoderName = PARENT
    """The parent's: there is no need to name it."""
    stem_stride: Annotated[int, Field(ge=1, le=8)] | None = None
    """Stride of the encoder's first convolution. Empty: the parent's."""
    grey: bool | None = None
    """Average the colours. Empty: as the parent does."""
    input_pixels: Annotated[int, Field(ge=16)] | Literal["auto"] = "auto"
    """Side of what the encoder sees. "auto": the parent's."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the features left out before the head."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Highest learning rate of the new head."""
    members: Annotated[int, Field(ge=1, le=1)] = 1
    """A fine-tune trains one network."""
    blocks: Annotated[int, Field(ge=0)] | Literal["all"] = "all"
    """Blocks of the encoder that learn, counted from the top; 0 trains the head alone. Below them nothing changes, the
    running statistics included."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.75
    """The learning rate of each block is this share of the rate above it; the head is on top."""
    statistics: Literal["learn", "parent"] = "learn"
    """Of the batch normalisations in the blocks that learn: follow the new images, or stay the parent's."""
    normalisation: Literal["parent", "shards"] = "shards"
    """Whose mean and standard deviation the images are scaled by."""
