"""Catalogs above memory: cross-match of HATS catalogs with LSDB, partition by partition, on Dask.

HATS keeps a catalog as Parquet files of HEALPix cells, with a margin: the rows just outside each cell, so that pairs
across its border are found. Needs the extra ``lsdb``; nothing else in gzflow imports it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gzflow.errors import CatalogError, LossyIds, MissingColumns, SettingsError, StackError
from gzflow.sky.hats_folder import is_hats, replacing
from gzflow.sky.match import How, check_options, pairs_within
from gzflow.sky.positions import BOUNDARY_TOLERANCE, degrees, text_ids

try:
    import lsdb
    import pandas as pd
except ImportError as error:
    raise SettingsError(
        "catalogs above memory need LSDB, which is not installed",
        expected="the extra lsdb",
        fix="pip install 'gzflow[lsdb]'",
    ) from error

MARGIN_ARCSEC = 10.0
"""Of catalogs that gzflow writes; the largest radius that they can be matched with."""
_MARGIN_SLACK = 1e-6
"""Arcsec on top of it, so that a radius as large as the margin finds the pairs at its very edge."""
ROWS = 1_000_000
"""Most rows of a partition: with id and position some 50 MB, and about a second of matching."""
_SCHEMES = ("tcp://", "tls://")
_COLUMNS = ["left_id", "right_id", "separation_arcsec"]


@dataclass(frozen=True)
class HatsSummary:
    """What `crossmatch_hats` wrote; `folder` is a HATS catalog at the left galaxies' positions."""

    folder: Path
    n_left: int
    n_right: int
    n_pairs: int


def write_hats(frame: pl.DataFrame, folder: Path, *, name: str, margin_arcsec: float = MARGIN_ARCSEC) -> int:
    """Write ``id_str``, ``ra``, ``dec`` of a frame as a HATS collection with its margin; the rows left out.

    Rows without a position lie in no cell: their number is returned.

    Parameters
    ----------
    folder
        Made here; a HATS catalog that stands there is replaced once the new one is whole.
    margin_arcsec
        At least the radius of later cross-matches.

    Raises
    ------
    MissingColumns, LossyIds, CatalogError
        As `gzflow.sky.crossmatch`; also a frame without any position.
    SettingsError
        A margin that is none, or a folder that holds something else.
    """
    if not 0 < margin_arcsec <= 3600:
        raise SettingsError(
            f"the margin is {margin_arcsec:g} arcsec",
            expected="more than 0 and at most 3600",
            fix="give the largest radius that the catalog will be matched with",
        )
    if "id_str" not in frame.columns:
        raise MissingColumns(f"{name} has no column id_str", where=f"its columns: {', '.join(frame.columns)}")
    ids, (ra, dec) = text_ids(frame, name), degrees(frame, name)
    known = ~(np.isnan(ra) | np.isnan(dec))
    if not known.any():
        raise CatalogError(f"{name} has no galaxy with a position", expected="one or more", fix="nothing to write")
    table = pd.DataFrame({"id_str": ids.to_numpy()[known], "ra": ra[known], "dec": dec[known]})
    catalog = lsdb.from_dataframe(
        table,
        ra_column="ra",
        dec_column="dec",
        catalog_name=name,
        partition_rows=ROWS,
        margin_threshold=margin_arcsec + _MARGIN_SLACK,
    )
    with replacing(folder) as temporary:
        catalog.write_catalog(temporary, catalog_name=name, as_collection=True, progress_bar=False)
    return int((~known).sum())


def crossmatch_hats(
    left: Path,
    right: Path,
    out: Path,
    radius_arcsec: float,
    how: How = "nearest",
    *,
    left_id: str = "id_str",
    right_id: str = "id_str",
    cluster: str | int | None = None,
) -> HatsSummary:
    """Match two HATS catalogs as `gzflow.sky.crossmatch` matches frames, with the same pairs and separations.

    Parameters
    ----------
    left, right
        HATS catalogs or collections; `right` has a margin of the radius or more.
    out
        HATS catalog of the pairs, with columns ``left_id``, ``right_id``, ``separation_arcsec`` and the left position;
        `read_pairs` reads it. A HATS catalog that stands there is replaced once the new one is whole.
    left_id, right_id
        The catalogs' id columns: text or whole numbers, each value once.
    cluster
        Address of a Dask scheduler, or a number of worker processes on this machine; None uses threads.

    Raises
    ------
    SettingsError
        A radius, mode or cluster that is none; an `out` that holds something else, or one of the inputs.
    StackError
        No scheduler answers at the address.
    CatalogError, MissingColumns, LossyIds
        No HATS catalog there, no margin or one smaller than the radius, no such id column or one of floats.

    Notes
    -----
    Memory: one partition of each side a worker; for ``best`` the pairs' ids too. LSDB brings each left partition
    together with the right one and its margin; the pairs themselves are found by `gzflow.sky.match.pairs_within`, as
    in memory, so both agree to the last bit.
    """
    check_options(radius_arcsec, how)
    _check_cluster(cluster)
    sides = [_opened(path, column) for path, column in ((left, left_id), (right, right_id))]
    _check_margin(sides[1], right, radius_arcsec)
    with replacing(out, left, right) as temporary, _running(cluster):
        found = temporary / "all" if how == "best" else temporary
        _write(_matched(sides[0], sides[1], radius_arcsec, how, left_id, right_id), found)
        if how == "best":
            mutual = temporary / "mutual.parquet"
            _mutual(read_pairs(found)).sink_parquet(mutual)
            _write(_kept(found, mutual), temporary / "best")
            _only(temporary, "best")
    n_pairs = int(read_pairs(out).select(pl.len()).collect().item())
    n_left, n_right = (int(side.hc_structure.catalog_info.total_rows) for side in sides)
    return HatsSummary(out, n_left, n_right, n_pairs)


def read_pairs(folder: Path) -> pl.LazyFrame:
    """The pairs that `crossmatch_hats` wrote, in no promised order: ``left_id, right_id, separation_arcsec``."""
    if not (files := _files(folder)):
        return pl.LazyFrame(schema={"left_id": pl.String, "right_id": pl.String, "separation_arcsec": pl.Float64})
    return pl.scan_parquet(files, hive_partitioning=False).select(
        pl.col("left_id", "right_id").cast(pl.String), pl.col("separation_arcsec").cast(pl.Float64)
    )


class _Within(lsdb.AbstractCrossmatchAlgorithm):
    """All pairs of two partitions within a radius, or each left galaxy's nearest where `nearest_by` names the ids."""

    extra_columns = pd.DataFrame({"separation_arcsec": pd.Series(dtype="float64")})

    def __init__(self, radius_arcsec: float, nearest_by: str | None) -> None:
        super().__init__()
        self.radius_arcsec = radius_arcsec
        self.nearest_by = nearest_by

    def perform_crossmatch(self, crossmatch_args: Any) -> tuple[Any, Any, Any]:
        sides = [
            (frame[info.ra_column].to_numpy(dtype=np.float64), frame[info.dec_column].to_numpy(dtype=np.float64))
            for frame, info in (
                (crossmatch_args.left_df, crossmatch_args.left_catalog_info),
                (crossmatch_args.right_df, crossmatch_args.right_catalog_info),
            )
        ]
        i, j, separation = pairs_within(sides[0], sides[1], self.radius_arcsec)
        if self.nearest_by is not None and len(i):
            ids = pl.Series(crossmatch_args.right_df[self.nearest_by].astype(str).to_numpy()[j], dtype=pl.String)
            order = np.lexsort((ids.rank("dense").to_numpy(), separation, i))
            first = order[np.unique(i[order], return_index=True)[1]]
            i, j, separation = i[first], j[first], separation[first]
        if self.nearest_by is not None:  # `best` compares separations over partitions before they are cut
            separation = np.minimum(separation, self.radius_arcsec)
        return i, j, pd.DataFrame({"separation_arcsec": separation})


def _named(frame: Any, left_id: str, right_id: str, position: list[str]) -> Any:
    made = frame[[left_id, right_id, "separation_arcsec", *position]]
    made = made.rename(columns={left_id: "left_id", right_id: "right_id"})
    return made.astype({"left_id": str, "right_id": str})


def _mutual(pairs: pl.LazyFrame) -> pl.LazyFrame:
    """Pairs that are each other's nearest; of equally near ones that with the smaller id."""
    chosen = pairs
    for own, other in (("left_id", "right_id"), ("right_id", "left_id")):
        best = pairs.group_by(own).agg(pl.col(other).sort_by("separation_arcsec", other).first())
        chosen = chosen.join(best, on=["left_id", "right_id"], how="semi")
    return chosen.select("left_id", "right_id")


def _matched(left: Any, right: Any, radius_arcsec: float, how: How, left_id: str, right_id: str) -> Any:
    """The pairs as a catalog that is not computed yet; None where the two share no part of the sky."""
    algorithm = _Within(radius_arcsec, right_id if how == "nearest" else None)
    try:
        pairs = left.crossmatch(
            right, algorithm=algorithm, suffixes=("_left", "_right"), suffix_method="all_columns", log_changes=False
        )
    except RuntimeError as error:
        if "do not overlap" in str(error):  # LSDB's words; it has no type of its own for this
            return None
        raise
    info = pairs.hc_structure.catalog_info
    return pairs.map_partitions(_named, f"{left_id}_left", f"{right_id}_right", [info.ra_column, info.dec_column])


def _kept(found: Path, mutual: Path) -> Any:
    """Those of the pairs that are mutual, as a catalog that is not computed yet."""
    if not _files(found):
        return None
    return lsdb.open_catalog(found).map_partitions(_among, str(mutual))


def _among(frame: Any, mutual: str) -> Any:
    ids = pl.DataFrame({name: pl.Series(frame[name].to_numpy(), dtype=pl.String) for name in ("left_id", "right_id")})
    chosen = pl.scan_parquet(mutual).with_columns(pl.lit(value=True).alias("kept"))
    kept = ids.lazy().join(chosen, on=["left_id", "right_id"], how="left", maintain_order="left").collect()["kept"]
    return frame[kept.fill_null(value=False).to_numpy()]


def _write(catalog: Any, folder: Path) -> None:
    folder.mkdir(parents=True)
    if catalog is not None:
        catalog.write_catalog(
            folder, catalog_name="pairs", as_collection=False, progress_bar=False, error_if_empty=False, overwrite=True
        )


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("dataset/Norder=*/Dir=*/Npix=*.parquet"))


def _opened(path: Path, id_column: str) -> Any:
    if not is_hats(path):
        raise CatalogError(
            "there is no HATS catalog",
            where=str(path),
            expected="a folder with hats.properties or collection.properties",
            fix="write one from the store with `gzflow hats SURVEY FOLDER`, or give the folder of a published one",
        )
    whole = lsdb.open_catalog(path)
    info = whole.hc_structure.catalog_info
    names = [str(name) for name in whole.all_columns]
    if id_column not in names:
        raise MissingColumns(
            f"{info.catalog_name} has no column {id_column}",
            where=f"{path}: {', '.join(names)}",
            expected="the column of the galaxies' ids",
            fix="name it with --left-id or --right-id",
        )
    catalog = lsdb.open_catalog(path, columns=list(dict.fromkeys([id_column, info.ra_column, info.dec_column])))
    if pd.api.types.is_float_dtype(catalog.dtypes[id_column]):
        raise LossyIds(
            f"the ids of {info.catalog_name} are {catalog.dtypes[id_column]}",
            where=f"{path}, column {id_column}",
            expected="text or whole numbers: a float keeps 16 digits and survey ids have up to 19",
            fix="name another column, or write the catalog again with its ids as text",
        )
    return catalog


def _check_margin(catalog: Any, path: Path, radius_arcsec: float) -> None:
    margin = catalog.margin
    found = float(margin.hc_structure.catalog_info.margin_threshold) if margin is not None else 0.0
    if found < radius_arcsec + BOUNDARY_TOLERANCE:
        raise CatalogError(
            f"the right catalog's margin is {f'{found:g} arcsec' if found else 'missing'}: pairs across the borders"
            " of its partitions would be lost",
            where=str(path),
            expected=f"a margin of {radius_arcsec:g} arcsec or more",
            fix=f"write it again (`gzflow hats SURVEY FOLDER --margin {2 * radius_arcsec:g}`), or swap left and right",
        )


def _check_cluster(cluster: str | int | None) -> None:
    known = cluster is None or (cluster.startswith(_SCHEMES) if isinstance(cluster, str) else cluster > 0)
    if not known:
        raise SettingsError(
            f"the cluster is {cluster!r}",
            expected="a number of processes above 0, or a scheduler's address such as tcp://host:8786",
            fix="correct it, or leave it out to use threads",
        )


@contextmanager
def _running(cluster: str | int | None) -> Iterator[None]:
    """Dask's default client for what is computed inside."""
    if cluster is None:
        yield
        return
    from dask.distributed import Client, LocalCluster

    if isinstance(cluster, str):
        try:
            client = Client(cluster)
        except (OSError, TimeoutError) as error:
            raise StackError(
                "no Dask scheduler answers",
                where=cluster,
                problems=[str(error)],
                expected="a scheduler and workers (`dask scheduler`, `dask worker ADDRESS`)",
                fix="start them or correct the address; a number starts processes on this machine",
            ) from error
        with client:
            yield
    else:
        with LocalCluster(n_workers=cluster, threads_per_worker=1, dashboard_address=None) as local, Client(local):
            yield


def _only(folder: Path, part: str) -> None:
    """Leave of a folder what stands in one of its parts."""
    kept = folder.with_name(f"{folder.name}.{part}")
    (folder / part).rename(kept)
    shutil.rmtree(folder)
    kept.rename(folder)
