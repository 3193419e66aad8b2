"""The model: encoder, head and tree; saved without pickle."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from gzflow import __version__
from gzflow.durable import write_bytes, write_json
from gzflow.errors import GzflowError, ModelError
from gzflow.model.components import ComponentHead, Components
from gzflow.model.encoders import build_encoder
from gzflow.model.head import ConcentrationHead
from gzflow.model.mixture import EncoderRow, MixtureHead
from gzflow.model.spec import FORMAT_VERSION, ModelSpec
from gzflow.model.support import Support
from gzflow.recipe import ImageRecipe
from gzflow.tree import DecisionTree

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
SUPPORT = "support.safetensors"
"""Beside a model that knows what it was trained on, see `gzflow.model.support`."""
_SUPPORT_DIGEST = "support_blake2b"


class Morphology(nn.Module):
    """Images -> Dirichlet concentrations of the votes.

    Images go in as uint8 (n, H, W, C), the order of a shard, from the host's memory or the device's: the central
    `ModelSpec.input_pixels` are cut out, and numbers are made of them, on the device.

    Parameters
    ----------
    spec
        Architecture, tree, recipe and normalisation.
    encoder_weights
        See `build_encoder`; None is a random start from torch's global generator.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, spec: ModelSpec, encoder_weights: Path | None = None) -> None:
        super().__init__()
        self.spec = spec
        built = [
            build_encoder(
                spec.encoder,
                spec.n_channels,
                encoder_weights,
                pixels=spec.input_pixels,
                stem_stride=spec.stem_stride,
                arguments=spec.encoder_arguments,
            )
            for _ in range(spec.members)
        ]
        # With channels last, convolutions are 1.2-2 times as fast on CPU and on tensor cores.
        encoders = [encoder.to(memory_format=torch.channels_last) for encoder, _ in built]
        dim = built[0][1]
        heads = [_new_head(spec, dim) for _ in encoders]
        self.encoder: nn.Module = encoders[0] if spec.members == 1 else EncoderRow(encoders)
        self.head: ConcentrationHead | MixtureHead = heads[0] if spec.members == 1 else MixtureHead(heads, dim)
        self.support: Support | None = None
        self.register_buffer("mean", torch.tensor(spec.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("scale", 1 / torch.tensor(spec.std).view(-1, 1, 1), persistent=False)

    @property
    def tree(self) -> DecisionTree:
        """The decision tree that names the outputs."""
        return self.spec.tree

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mean.device

    def prepare(self, images: Tensor | NDArray[np.uint8]) -> Tensor:
        """(n, C, input_pixels, input_pixels) normalised float32 on the model's device, of uint8 (n, H, W, C)."""
        tensor = torch.from_numpy(images) if isinstance(images, np.ndarray) else images
        size, channels = self.spec.input_pixels, self.spec.recipe.n_channels
        if tensor.ndim != 4 or tensor.shape[3] != channels or min(tensor.shape[1:3]) < size:
            raise ModelError(
                f"images of shape {tuple(tensor.shape)} do not fit the model",
                expected=f"(n, H, W, {channels}) with H and W of {size} or more",
            )
        if tensor.dtype != torch.uint8:
            raise ModelError(f"images are {tensor.dtype}", expected="uint8, as in a shard")
        tensor = central_crop(tensor, size).to(self.device, non_blocking=True)
        # A transposed view of (n, H, W, C) memory is what channels-last means: nothing is copied here.
        values = tensor.permute(0, 3, 1, 2).float()
        if self.spec.n_channels < channels:
            values = values.mean(1, keepdim=True)
        return (values - self.mean) * self.scale

    def encode(self, images: Tensor | NDArray[np.uint8]) -> Tensor:
        """(n, d) features."""
        features: Tensor = self.encoder(self.prepare(images))
        return features

    def forward(self, images: Tensor | NDArray[np.uint8]) -> Tensor | Components:
        """(n, n_answers) concentrations, or `Components` of such a head; dropout acts in training mode only."""
        given: Tensor | Components = self.head(self.encode(images))
        return given

    def concentrations(
        self, images: Tensor | NDArray[np.uint8], n_samples: int = 1, *, seed: int = 0, keys: Tensor | None = None
    ) -> Tensor:
        """(n, n_samples, n_answers) dropout samples from one encoder pass; see `ConcentrationHead.sample`."""
        return self.head.sample(self.encode(images), n_samples, seed=seed, keys=keys)

    def require_recipe(self, other: ImageRecipe, *, allow: bool = False) -> list[str]:
        """See `ModelSpec.require_recipe`."""
        return self.spec.require_recipe(other, allow=allow)

    def answering(self, survey: str) -> Morphology:
        """The model of one of its surveys alone: a copy of the encoder under that survey's part of the head.

        A model of a single survey is itself; see `ModelSpec.answering` for the error.
        """
        spec = self.spec.answering(survey)
        if spec is self.spec:
            return self
        rows = self.spec.outputs(survey)
        alone = copy.deepcopy(self)
        alone.spec = spec
        alone.head = self.head.part(rows, spec.tree)
        return alone

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors``, then ``model.json`` with its hash: a torn pair does not load.

        Where the model has a support, that is written and hashed as well, as ``support.safetensors``.
        """
        state = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        content = save_safetensors(state)
        write_bytes(folder / WEIGHTS, content)
        description = self.spec.model_dump(mode="json") | {"created_by": f"gzflow {__version__}"}
        digests = {"weights_blake2b": _digest(content)}
        if self.support is not None:
            support = self.support.to_bytes()
            write_bytes(folder / SUPPORT, support)
            digests[_SUPPORT_DIGEST] = _digest(support)
        write_json(folder / DESCRIPTION, description | digests)

    @classmethod
    def load(cls, folder: Path, device: str | torch.device = "cpu") -> Morphology:
        """The saved model on `device`, in evaluation mode.

        Raises
        ------
        ModelError
            Missing files, another format version, weights that do not belong to the description. Nothing is unpickled.
        """
        folder = Path(folder)
        spec, digest, _ = _read_description(folder / DESCRIPTION)
        path = folder / WEIGHTS
        content = _read_hashed(path, digest, "weights")
        try:
            # The random start of the weights is overwritten; the caller's generator must not notice it.
            with torch.random.fork_rng(devices=[]):
                model = cls(spec)
            # A fresh state keeps the versions of its modules, which a file of bare tensors does not have.
            state, stored = model.state_dict(), load_safetensors(content)
            if missing := state.keys() ^ stored.keys():
                raise RuntimeError(f"tensors on one side only: {', '.join(sorted(missing)[:5])}")
            state.update(stored)
            model.load_state_dict(state)
        except (SafetensorError, RuntimeError, ValueError) as error:
            raise ModelError(
                f"the weights do not fit encoder {spec.encoder!r} and its head: {error}",
                where=str(path),
                fix="use the gzflow and torchvision that saved the model",
            ) from error
        model.support = read_support(folder)
        return model.to(device).eval()


def _new_head(spec: ModelSpec, dim: int) -> ConcentrationHead:
    if spec.components > 1:
        return ComponentHead(dim, spec.tree, spec.dropout, spec.concentrations, spec.components)
    return ConcentrationHead(dim, spec.tree, spec.dropout, spec.concentrations, spec.likelihood)


def read_spec(folder: Path) -> ModelSpec:
    """The description of a saved model, without its weights.

    Raises
    ------
    ModelError
        There is none, or of another format version.
    """
    return _read_description(Path(folder) / DESCRIPTION)[0]


def read_fingerprint(folder: Path) -> str:
    """32 hex digits of a saved model's weights and of how it feeds them; see `read_spec` for the errors."""
    spec, digest, _ = _read_description(Path(folder) / DESCRIPTION)
    keys = {"encoder", "stem_stride", "input_pixels", "mean", "std"} | ({"grey"} if spec.grey else set())
    fed = spec.model_dump_json(include=keys)
    return _digest(f"{digest} {fed}".encode())


def read_support(folder: Path) -> Support | None:
    """What a saved model knows of the galaxies it was trained on; None if that was not kept.

    Raises
    ------
    ModelError
        As `Morphology.load`.
    """
    folder = Path(folder)
    digest = _read_description(folder / DESCRIPTION)[2]
    return Support.from_bytes(_read_hashed(folder / SUPPORT, digest, "support")) if digest else None


def central_crop(images: Tensor, size: int) -> Tensor:
    """The central (n, size, size, C) of (n, H, W, C) images, as a view."""
    top, left = (images.shape[1] - size) // 2, (images.shape[2] - size) // 2
    return images[:, top : top + size, left : left + size]


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _read_hashed(path: Path, digest: str, what: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"the model has no readable {what}", where=str(path), fix="save the model again") from error
    if _digest(content) != digest:
        raise ModelError(
            f"{path.name} is not the file that {DESCRIPTION} describes",
            where=str(path.parent),
            fix="save the model again; a run that was killed while saving is repaired by resuming it",
        )
    return content


def _read_description(path: Path) -> tuple[ModelSpec, str, str]:
    """What a model says of itself, and the digests of its weights and of its support (empty where it has none)."""
    try:
        description = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"there is no readable {DESCRIPTION}: {error}",
            where=str(path.parent),
            expected=f"a folder with {DESCRIPTION} and {WEIGHTS}",
            fix="name the folder that Morphology.save wrote",
        ) from error
    version = description.get("format_version") if isinstance(description, dict) else None
    if version != FORMAT_VERSION:
        raise ModelError(
            f"the model has format version {version}",
            where=str(path),
            expected=f"format version {FORMAT_VERSION}",
            fix="use the gzflow that wrote the model, or train it again",
        )
    digest, support = (str(description.pop(name, "")) for name in ("weights_blake2b", _SUPPORT_DIGEST))
    try:
        return ModelSpec.model_validate(description), digest, support
    except (ValidationError, GzflowError) as error:
        raise ModelError(
            f"{DESCRIPTION} does not describe a model", where=str(path), problems=[str(error)], fix="save it again"
        ) from error
