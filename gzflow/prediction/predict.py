"""A shard in, samples of every galaxy's concentrations out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gzflow.errors import PredictionError
from gzflow.model.head import galaxy_keys
from gzflow.model.image_statistics import image_statistics
from gzflow.model.morphology import Morphology, central_crop
from gzflow.prediction.folding import folded
from gzflow.shards.reader import ShardReader

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class PredictionPart:
    """Predictions of n galaxies.

    Attributes
    ----------
    ids
        N ids, in the shard's order.
    ra, dec
        (n,) degrees, NaN where unknown.
    concentrations
        (n, n_samples, n_answers) float32.
    recipe_differences
        How the images differ from those the model was trained on; empty unless a mismatch was allowed.
    unidentified
        Questions of which the training votes could not tell how wide their intervals are.
    support, statistics
        (n, 3) and (n, n_statistics), see `gzflow.model.support.Support` and `gzflow.model.image_statistics`; None where
        the model has no support.
    """

    ids: list[str]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    concentrations: NDArray[np.float32]
    recipe_differences: tuple[str, ...] = ()
    unidentified: tuple[str, ...] = ()
    support: NDArray[np.float32] | None = None
    statistics: NDArray[np.float32] | None = None


class Predictor:
    """A model made ready for prediction on one device; use it for many shards.

    Each galaxy goes through the encoder once; the head alone is sampled. A galaxy's dropout masks follow from the seed
    and its id, and batches are always cut alike: a shard that is predicted again gives the same bits on the same
    device, precision and number of threads.

    Parameters
    ----------
    device
        "auto" is CUDA where there is one, else the CPU.
    precision
        Of the encoder; the head always runs in float32. "auto" is bfloat16 on CUDA devices that have it, else float32.
        On a CPU with AVX-512 bfloat16 or AMX, "bfloat16" is faster again and moves fractions by about 1e-3.
    batch_size
        Galaxies in one pass.
    compiled
        Compile the encoder (a minute or so, once a process).
    """

    def __init__(
        self,
        model: Morphology,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int = 256,
        compiled: bool = False,
    ) -> None:
        if batch_size < 1:
            raise PredictionError(f"batch_size is {batch_size}", expected="1 or more")
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        if precision == "auto":
            bf16 = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
            precision = "bfloat16" if bf16 else "float32"
        self.precision = precision
        self.batch_size = batch_size
        self.model = copy.deepcopy(model).eval()
        self.model.encoder = folded(self.model.encoder)
        self.model.to(self.device)
        if compiled:
            self.model.encoder = torch.compile(self.model.encoder)

    def predict(
        self,
        reader: ShardReader,
        *,
        n_samples: int = 20,
        seed: int = 42,
        allow_recipe_mismatch: bool = False,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> PredictionPart:
        """Samples of the concentrations of all galaxies in a shard.

        Parameters
        ----------
        n_samples
            Dropout samples a galaxy.
        seed
            Of the dropout masks.
        allow_recipe_mismatch
            Go on when the images were made another way than the model's, and say so in the part.
        on_batch
            Called with (galaxies done, galaxies in all) after each batch.

        Raises
        ------
        RecipeMismatch
            Images made another way, unless allowed.
        PredictionError
            Fewer than one sample; concentrations that are not finite.
        """
        if n_samples < 1:
            raise PredictionError(f"n_samples is {n_samples}", expected="1 or more dropout samples")
        differences = self.model.require_recipe(reader.header.recipe, allow=allow_recipe_mismatch)
        n, n_answers = len(reader), len(self.model.tree.answers)
        keys = torch.from_numpy(galaxy_keys(reader.ids).copy())
        concentrations = np.empty((n, n_samples, n_answers), np.float32)
        # Results come back one batch late, so that the device does not idle while they are copied.
        waiting: tuple[slice, Tensor] | None = None
        beside: list[Tensor] = []
        for rows, images in self._batches(reader):
            with torch.inference_mode(), self._autocast():
                features = self.model.encode(images)
            with torch.inference_mode():
                part = self.model.head.sample(features.float(), n_samples, seed=seed, keys=keys[rows])
                if self.model.support is not None:
                    statistics = image_statistics(images)
                    beside.append(torch.cat((self.model.support(features, statistics), statistics), 1))
            if waiting is not None:
                concentrations[waiting[0]] = waiting[1].cpu().numpy()
            waiting = rows, part
            if on_batch is not None:
                on_batch(min(rows.stop, n), n)
        if waiting is not None:
            concentrations[waiting[0]] = waiting[1].cpu().numpy()
        if not np.isfinite(concentrations).all():
            wrong = ~np.isfinite(concentrations).all((1, 2))
            raise PredictionError(
                f"the model gives no finite concentrations for {int(wrong.sum())} galaxies",
                where=f"{reader.path}, such as galaxy {reader.ids[int(wrong.argmax())]!r}",
                fix="its weights are damaged or it diverged in training: use another version",
            )
        support, statistics = np.split(torch.cat(beside).cpu().numpy(), [3], axis=1) if beside else (None, None)
        return PredictionPart(
            reader.ids,
            reader.ra,
            reader.dec,
            concentrations,
            tuple(differences),
            self.model.spec.unidentified,
            support,
            statistics,
        )

    def _batches(self, reader: ShardReader) -> Iterator[tuple[slice, Tensor]]:
        """(rows, images), the next batch being read while one is used."""
        size = self.model.spec.input_pixels
        slices = [slice(start, start + self.batch_size) for start in range(0, len(reader), self.batch_size)]

        def read(rows: slice) -> Tensor:
            images = torch.from_numpy(reader.images(rows))
            if max(images.shape[1:3]) > size:
                images = central_crop(images, size).contiguous()
            return images.pin_memory() if self.device.type == "cuda" else images

        with ThreadPoolExecutor(1) as pool:
            following = [pool.submit(read, rows) for rows in slices[:1]]
            for i, rows in enumerate(slices):
                images = following.pop().result()
                following = [pool.submit(read, later) for later in slices[i + 1 : i + 2]]
                yield rows, images.to(self.device, non_blocking=True)

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


def predict_shard(
    model: Morphology,
    reader: ShardReader,
    *,
    n_samples: int = 20,
    seed: int = 42,
    batch_size: int = 256,
    device: str = "auto",
    precision: Precision = "auto",
    allow_recipe_mismatch: bool = False,
) -> PredictionPart:
    """Samples of the concentrations of all galaxies in one shard; see `Predictor`, which serves many shards."""
    predictor = Predictor(model, device=device, precision=precision, batch_size=batch_size)
    return predictor.predict(reader, n_samples=n_samples, seed=seed, allow_recipe_mismatch=allow_recipe_mismatch)
