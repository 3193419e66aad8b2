"""Plan a prediction: model version, galaxies, bytes and hours, before anything starts; nothing is kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from gzflow.model.morphology import Morphology
from gzflow.prediction.export import part_table, write_part
from gzflow.prediction.predict import Predictor
from gzflow.settings import Settings
from gzflow.shards.codec import encode_jpeg
from gzflow.shards.header import ShardEntry
from gzflow.shards.reader import ShardSet
from gzflow.shards.shard_file import ShardReader
from gzflow.shards.writer import write_shard
from gzflow.stages import predict
from gzflow.stages.free_space import free_space
from gzflow.stages.predict import PinnedRun, PredictOptions

SAMPLE_S = 5.0
"""Longest that the measurement should take, once the model is loaded."""
AHEAD = 32
"""Galaxies of the first, uncounted pass, in which the device makes itself ready."""


@dataclass(frozen=True)
class PredictForecast:
    """What a prediction would do.

    Attributes
    ----------
    model, version, run_id
        What the alias leads to now.
    device, precision
        Where and how the encoder would run.
    galaxies, finished
        In the shards, and of those in parts that an earlier run of the same pin finished.
    sampled
        Galaxies that were predicted to measure.
    galaxies_per_s
        From shard to written part.
    loading_s
        Until the model is ready.
    bytes
        Of the parts that would be written.
    recipe_differences
        How the images differ from those the model was trained on.
    folder
        Of the catalogue.
    free
        Bytes free where the home is.
    """

    survey: str
    model: str
    version: str
    run_id: str
    device: str
    precision: str
    galaxies: int
    finished: int
    sampled: int
    galaxies_per_s: float
    loading_s: float
    bytes: float
    recipe_differences: str
    folder: Path
    free: int

    @property
    def to_do(self) -> int:
        """Galaxies that the run would predict."""
        return self.galaxies - self.finished

    @property
    def seconds(self) -> float:
        """Seconds in all, the start of the orchestrator excluded."""
        return self.loading_s + self.to_do / self.galaxies_per_s if self.to_do else 0.0


def forecast(options: PredictOptions, settings: Settings, *, sample: int | None = None) -> PredictForecast:
    """What `gzflow predict` would do with these options.

    Some galaxies of the first shard are really predicted and written as a part, elsewhere; then their time and size are
    those of all.

    Parameters
    ----------
    sample
        Galaxies to predict. None: one batch, or up to four as long as that takes no more than five seconds.

    Raises
    ------
    NoChampion, RecipeMismatch, ShardError
        As the prediction itself.
    """
    pinned = predict.pin(options, settings)
    start = time.perf_counter()
    predictor = Predictor(
        Morphology.load(pinned.model_folder).answering(pinned.shards.survey), precision=options.precision
    )
    waiting = [entry for entry in pinned.shards.entries() if not _predicted(pinned, entry)]
    metadata = predict.part_metadata(pinned) | {"split": "train"}
    with TemporaryDirectory(prefix="gzflow-plan-") as folder:
        ahead = _excerpt(pinned.shards, AHEAD, Path(folder) / "ahead")
        _, smallest = _measured(predictor, ahead, pinned.samples, options, metadata)
        loading_s = time.perf_counter() - start
        size = sample or predictor.batch_size
        reader = _excerpt(pinned.shards, size, Path(folder) / "first")
        seconds, written = _measured(predictor, reader, pinned.samples, options, metadata)
        more = min(4, int(SAMPLE_S / max(seconds, 1e-9)))
        if sample is None and more > 1 and len(reader) == size:
            reader = _excerpt(pinned.shards, size * more, Path(folder) / "more")
            seconds, written = _measured(predictor, reader, pinned.samples, options, metadata)
    n, to_do = pinned.shards.n(), sum(entry.n for entry in waiting)
    # A file grows with its galaxies; what it says about itself and its columns is there once.
    each = (written - smallest) / (len(reader) - len(ahead)) if len(reader) > len(ahead) else 0.0
    fixed = written - each * len(reader)
    return PredictForecast(
        survey=pinned.shards.survey,
        model=str(pinned.pins["model"]),
        version=str(pinned.pins["version"]),
        run_id=str(pinned.pins["run_id"]),
        device=predictor.device.type,
        precision=predictor.precision,
        galaxies=n,
        finished=n - to_do,
        sampled=len(reader),
        galaxies_per_s=len(reader) / seconds,
        loading_s=loading_s,
        bytes=fixed * len(waiting) + each * to_do,
        recipe_differences=str(pinned.pins["recipe_mismatch"]),
        folder=pinned.folder,
        free=free_space(settings.home),
    )


def _predicted(run: PinnedRun, entry: ShardEntry) -> bool:
    part = predict.part_path(run.folder, entry)
    return part.is_file() and pq.read_metadata(part).num_rows == entry.n


def _excerpt(shards: ShardSet, n: int, folder: Path) -> ShardReader:
    """A shard with the first galaxies of the set's first shard."""
    whole = shards.readers()[0]
    rows = slice(0, min(n, len(whole)))
    pixels = whole.images(rows)
    path = folder / "excerpt.h5"
    write_shard(
        path,
        whole.header,
        images=pixels if whole.header.codec == "raw" else [encode_jpeg(image) for image in pixels],
        votes=whole.votes[rows],
        ids=whole.ids[rows],
        ra=whole.ra[rows],
        dec=whole.dec[rows],
        pixscale=whole.pixscale[rows],
    )
    return ShardReader(path)


def _measured(
    predictor: Predictor, reader: ShardReader, samples: int, options: PredictOptions, metadata: Mapping[str, str]
) -> tuple[float, int]:
    """Seconds from a shard to its written part, and the part's bytes."""
    start = time.perf_counter()
    predicted = predictor.predict(
        reader,
        n_samples=samples,
        seed=options.seed,
        allow_recipe_mismatch=options.allow_recipe_mismatch,
    )
    table = part_table(predicted, predictor.model.tree, metadata, keep_concentrations=options.keep_concentrations)
    path = reader.path.with_suffix(".parquet")
    write_part(path, table)
    return time.perf_counter() - start, path.stat().st_size
