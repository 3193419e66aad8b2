"""A catalog as its survey reads it, on disk: however many rows it has, one part of it is in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl

from gzflow.catalog.catalog_file import CatalogFile
from gzflow.catalog.failure import Failure
from gzflow.catalog.own_folder import own_folder
from gzflow.catalog.part import MISSING_ID, CatalogPart
from gzflow.catalog.tally import Tally
from gzflow.errors import DiskError

_FAILURES = {"id_str": pl.String, "stage": pl.String, "reason": pl.String, "detail": pl.String}


class CatalogSpool:
    """Parts of one catalog file in a folder of their own, gone when it closes; a context manager.

    Parameters
    ----------
    source
        The file.
    parent
        Where that folder is made. What killed processes left there is removed.

    Attributes
    ----------
    source
        The file.
    n_read, n_filtered, n_failed, n_galaxies
        Its rows, and where they are.
    rounding_residual, notes
        As in `gzflow.catalog.read.CatalogTable`.
    """

    def __init__(self, source: CatalogFile, parent: Path) -> None:
        self.source = source
        self.n_read = self.n_filtered = self.n_failed = self.n_galaxies = self._n = 0
        self.rounding_residual = 0.0
        self.notes: tuple[str, ...] = ()
        self._open = ExitStack()
        self._folder = self._open.enter_context(own_folder(parent, f"reading {source.path}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder."""
        self._open.close()

    def put(self, part: CatalogPart) -> None:
        """Keep one more part."""
        together = part.galaxies.hstack(part.votes.drop("id_str").rename(lambda name: f"votes {name}"))
        # In the order of the store's key: neighbours lie on one page.
        self._write("galaxies", together.sort("id_str"))
        self._write("failures", pl.DataFrame([asdict(failure) for failure in part.failures], schema=_FAILURES))
        self._write("filtered", part.filtered_ids.to_frame())
        self._n += 1

    def _write(self, what: str, frame: pl.DataFrame) -> None:
        content = io.BytesIO()  # polars alone would not say that it is the disk that is full
        frame.write_parquet(content, compression="lz4")
        try:
            self._file(what, self._n).write_bytes(content.getbuffer())
        except OSError as error:
            raise DiskError(
                "the catalog's rows cannot wait on disk until all of them are read",
                where=str(self._folder),
                problems=[error.strerror or str(error)],
                expected="room for a copy of the columns that the survey needs",
                fix="make room there, or name a folder with more room in GZFLOW_HOME; then run the same command again",
            ) from error

    def close_books(self, tally: Tally) -> None:
        """Judge the whole, and take its numbers over.

        Raises
        ------
        EmptyCatalog, DuplicateIds, VotesDisagree
            As their names say.
        """
        tally.judge(self._kept_ids())
        self.n_read, self.n_filtered = tally.n_read, tally.n_filtered
        self.n_failed, self.n_galaxies = tally.n_failed, tally.n_galaxies
        self.rounding_residual, self.notes = tally.residual, tally.notes

    def parts(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """(galaxies, votes), each part sorted by id; the same again at each call."""
        for i in range(self._n):
            frame = pl.read_parquet(self._file("galaxies", i))
            counts = [name for name in frame.columns if name.startswith("votes ")]
            votes = frame.select("id_str", *(pl.col(name).alias(name.removeprefix("votes ")) for name in counts))
            yield frame.drop(counts), votes

    def failed(self) -> Iterator[list[Failure]]:
        """Failures, part by part."""
        for i in range(self._n):
            yield [Failure(**row) for row in pl.read_parquet(self._file("failures", i)).iter_rows(named=True)]

    def left_out(self) -> Iterator[list[str]]:
        """Ids of rows that the filter left out, part by part; rows of other parts may carry them too."""
        for i in range(self._n):
            yield pl.read_parquet(self._file("filtered", i))["id_str"].to_list()

    def _kept_ids(self) -> Iterator[pl.Series]:
        for i in range(self._n):
            failed = pl.read_parquet(self._file("failures", i)).filter(pl.col("reason") != MISSING_ID)
            yield pl.concat(
                [pl.read_parquet(self._file("galaxies", i), columns=["id_str"])["id_str"], failed["id_str"]]
            )

    def _file(self, what: str, part: int) -> Path:
        return self._folder / f"{what}-{part:05d}.parquet"
