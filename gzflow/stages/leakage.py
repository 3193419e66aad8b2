"""Test galaxies that the model, or one that it descends from, has seen: they say nothing about how good it is."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import polars as pl

from gzflow.durable import replacing
from gzflow.errors import TrackingError, TrackingUnavailable
from gzflow.model.morphology import read_spec
from gzflow.settings import Settings
from gzflow.shards.header import SPLITS, Split
from gzflow.shards.reader import ShardSet
from gzflow.sky import count_unpositioned, crossmatch
from gzflow.stages.run_file import noted_run
from gzflow.tracking.artifacts import read_artifact, run_tags
from gzflow.tracking.registry import ModelRef, Registry
from gzflow.tracking.run import PARENT_TAG, run_exists

logger = logging.getLogger(__name__)

GALAXIES = "galaxies.parquet"
"""A run's galaxies: ``id_str``, ``ra``, ``dec``, ``split``, and ``stamp``, the side of their pictures in arcsec."""
LEAK_ARCSEC = 2.0
"""A test galaxy this close to one that was trained on is left out of the scores."""
_SEEN: tuple[Split, ...] = ("train", "validation")
_SCHEMA: dict[str, Any] = {"ra": pl.Float64, "dec": pl.Float64, "stamp": pl.Float64}


@dataclass(frozen=True)
class Ancestry:
    """What the models were trained on that a fine-tune descends from.

    Attributes
    ----------
    models
        Their URIs, the parent first.
    seen
        Positions and stamps (``ra``, ``dec`` in degrees, ``stamp`` in arcsec) of the galaxies of all of them.
    unknown
        One sentence for each ancestor whose galaxies are not known: the guard is blind to them.
    """

    models: tuple[str, ...]
    seen: pl.DataFrame
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Leakage:
    """Test galaxies that were seen in training.

    Attributes
    ----------
    ids
        Those within `LEAK_ARCSEC` of a galaxy that the model or an ancestor was trained on.
    n_by_parent
        Of these, the ones that an ancestor has seen.
    n_overlapping
        Further test galaxies whose stamp overlaps one that was trained on.
    unknown
        Why the guard may have missed some; empty when it could look everywhere.
    """

    ids: frozenset[str]
    n_by_parent: int
    n_overlapping: int
    unknown: tuple[str, ...]

    def metrics(self) -> dict[str, float]:
        """Numbers for tracking, the same names in every run that was scored."""
        return {
            "test/leaked": len(self.ids),
            "test/leaked-by-parent": self.n_by_parent,
            "test/overlapping-stamps": self.n_overlapping,
            "test/guard-known": float(not self.unknown),
        }


def ancestry(parent: ModelRef | None, settings: Settings) -> Ancestry:
    """What `parent`, its own parent, and so on, were trained on, read from their runs.

    An ancestor whose galaxies cannot be found is logged and named in `Ancestry.unknown`.

    Raises
    ------
    TrackingUnavailable
        Nobody could be asked.
    """
    models: list[str] = []
    frames = [pl.DataFrame(schema=_SCHEMA)]
    unknown: list[str] = []
    while parent is not None and parent.uri not in models:
        models.append(parent.uri)
        run_id = _run_of(parent, settings)
        content = _galaxies(parent, run_id, settings)
        if content is None:
            why = f"its run {run_id} keeps no {GALAXIES}" if run_id else "no run is known that made it"
            unknown.append(f"{parent.uri}: {why}")
        else:
            seen = pl.read_parquet(io.BytesIO(content)).filter(pl.col("split").is_in(_SEEN))
            if blind := count_unpositioned(seen):
                unknown.append(f"{parent.uri}: {blind:,} of its {len(seen):,} galaxies have no position")
            frames.append(seen.select(pl.col(name).cast(kind) for name, kind in _SCHEMA.items()))
        try:
            parent = _parent_of(parent, run_id, settings)
        except TrackingUnavailable:
            raise
        except TrackingError as error:
            unknown.append(f"the parent of {models[-1]}: {error.what}")
            parent = None
    for sentence in unknown:
        logger.warning("the guard against seen test galaxies is partly blind: %s", sentence)
    return Ancestry(tuple(models), pl.concat(frames), tuple(unknown))


def find_leaks(shards: ShardSet, ancestors: Ancestry, learnt: ShardSet | None = None) -> Leakage:
    """The test galaxies of `shards` that the training galaxies of `learnt` or those of `ancestors` give away.

    `learnt` is the joint set of a model that learnt other surveys too; None is `shards`.
    """
    test, own = _positions(shards, ("test",)), _positions(learnt or shards, _SEEN)
    unknown = list(ancestors.unknown)
    for part in learnt.parts if learnt else ():
        if part.survey != shards.survey and (blind := count_unpositioned(_positions(part, _SEEN))):
            unknown.append(f"{blind:,} galaxies of {part.survey}, which was learnt too, have no position")
    if ancestors.models and len(test) and (blind := count_unpositioned(test)):
        unknown.append(f"{blind:,} of {len(test):,} test galaxies have no position")
    near = [_near(test, seen) for seen in (own, ancestors.seen)]
    by_own, by_parent = (set(pairs.filter(pl.col("separation_arcsec") <= LEAK_ARCSEC)["left_id"]) for pairs in near)
    touched = {id_str for pairs in near for id_str in pairs["left_id"]}
    leaked = by_own | by_parent
    return Leakage(frozenset(leaked), len(by_parent), len(touched - leaked), tuple(unknown))


def write_galaxies(shards: ShardSet, path: Path, learnt: ShardSet | None = None) -> None:
    """Write which galaxies a run has seen, and which it was tested on, for its descendants' guards."""
    sources = {split: learnt or shards if split in _SEEN else shards for split in SPLITS}
    parts = [
        _positions(source, (split,)).with_columns(pl.lit(split).alias("split")) for split, source in sources.items()
    ]
    with replacing(path) as temporary:
        pl.concat(parts).select("id_str", "ra", "dec", "split", "stamp").write_parquet(temporary)


def _run_of(model: ModelRef, settings: Settings) -> str | None:
    """The run that made a model; a model that is only files may lie in its run's folder."""
    run_id = model.run_id or noted_run(model.folder.parent, settings, read_spec(model.folder).survey)
    return run_id if run_id is not None and run_exists(settings, run_id) else None


def _galaxies(model: ModelRef, run_id: str | None, settings: Settings) -> bytes | None:
    beside = model.folder.parent / GALAXIES
    if model.version is None and beside.is_file():
        return beside.read_bytes()
    return read_artifact(settings, run_id, GALAXIES) if run_id else None


def _parent_of(model: ModelRef, run_id: str | None, settings: Settings) -> ModelRef | None:
    """The model that `model` was fine-tuned from, if it was.

    Raises
    ------
    TrackingError
        It was, and its parent is not to be found.
    """
    tags = dict(model.tags) | (run_tags(settings, run_id) if run_id else {})
    reference = tags.get(PARENT_TAG)
    if reference is None and (noted := read_spec(model.folder).notes.get("parent")):
        raise TrackingError(f"it was fine-tuned from {noted}, and no run says which model that is")
    if reference is None:
        return None
    is_file = reference.startswith("file:")
    return Registry(settings).resolve(Path(unquote(urlsplit(reference).path)) if is_file else reference)


def _near(test: pl.DataFrame, seen: pl.DataFrame) -> pl.DataFrame:
    """Pairs of a test galaxy and a seen one, the same object or with stamps that overlap."""
    # Ids of several surveys may be alike.
    seen = seen.with_columns(pl.int_range(pl.len()).cast(pl.String).alias("id_str"))
    widest = max([LEAK_ARCSEC, *test["stamp"].drop_nans(), *seen["stamp"].drop_nans()])
    pairs = crossmatch(test, seen, widest, "all")
    stamps = [frame.select("id_str", pl.col("stamp").fill_nan(0.0)) for frame in (test, seen)]
    pairs = pairs.join(stamps[0], left_on="left_id", right_on="id_str")
    pairs = pairs.join(stamps[1], left_on="right_id", right_on="id_str", suffix="_seen")
    touching = (pl.col("stamp") + pl.col("stamp_seen")) / 2
    return pairs.filter(pl.col("separation_arcsec") <= pl.max_horizontal(touching, pl.lit(LEAK_ARCSEC)))


def _positions(shards: ShardSet, splits: tuple[Split, ...]) -> pl.DataFrame:
    readers = [reader for split in splits for reader in shards.readers(split)]
    return pl.DataFrame(
        {
            "id_str": [id_str for reader in readers for id_str in reader.ids],
            "ra": np.concatenate([np.zeros(0), *(reader.ra for reader in readers)]),
            "dec": np.concatenate([np.zeros(0), *(reader.dec for reader in readers)]),
            "stamp": np.concatenate([np.zeros(0), *(reader.pixscale * shards.recipe.pixels for reader in readers)]),
        },
        schema={"id_str": pl.String} | _SCHEMA,
    )
