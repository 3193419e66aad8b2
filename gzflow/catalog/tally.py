"""What holds for a whole catalog file, gathered from its parts: doubled ids, wrong columns, an empty filter, notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gzflow.catalog.agreement import Agreement
from gzflow.catalog.assemble import sql_columns
from gzflow.catalog.failure import Failure
from gzflow.catalog.part import CatalogPart
from gzflow.errors import DuplicateIds, EmptyCatalog
from gzflow.surveys.survey import Survey


class Tally:
    """Sums over the parts of one catalog file; of each id it keeps 8 bytes.

    Attributes
    ----------
    n_read, n_filtered, n_failed, n_galaxies
        Rows of the file, and where they are.
    residual
        Largest distance, in votes, between published votes and the whole number kept.
    """

    def __init__(self, survey: Survey, path: Path, notes: Sequence[str], *, mapped: bool) -> None:
        self._survey, self._path, self._notes, self._mapped = survey, path, notes, mapped
        self.n_read = self.n_filtered = self.n_failed = self.n_galaxies = 0
        self.residual = 0.0
        self._hashes: list[NDArray[np.uint64]] = []
        self._agreement = Agreement()
        self._alone: Counter[str] = Counter()
        self._unmapped = self._unplaced = self._unscaled = 0
        self._first_failures: tuple[Failure, ...] = ()
        self._seen: dict[str, list[str]] = {name: [] for name in sql_columns(survey.catalog.where)}

    def look(self, frame: pl.DataFrame) -> None:
        """Remember the first values of the columns that the filter reads."""
        for name, found in self._seen.items():
            if len(found) < 3:
                new = frame[name].drop_nulls().unique(maintain_order=True).head(3).cast(pl.String)
                found.extend([value for value in new if value not in found][: 3 - len(found)])

    def add(self, part: CatalogPart) -> None:
        """One more part."""
        self.n_read += part.n_read
        self.n_filtered += part.n_filtered
        self.n_failed += len(part.failures)
        self.n_galaxies += len(part.galaxies)
        self.residual = max(self.residual, part.residual)
        self._hashes.append(part.kept_ids.hash().to_numpy())
        self._agreement += part.agreement
        self._alone.update(part.alone)
        self._unmapped += part.unmapped
        self._unplaced += part.galaxies["ra"].null_count()
        self._unscaled += part.galaxies["pixscale"].null_count()
        self._first_failures = (*self._first_failures, *part.failures)[:5]

    def doubtful(self) -> pl.Series:
        """Hashes that several ids of the file have: those of doubled ids, and hardly ever of two different ones."""
        hashes = np.sort(np.concatenate(self._hashes)) if self._hashes else np.zeros(0, np.uint64)
        self._hashes.clear()
        return pl.Series("hash", np.unique(hashes[1:][hashes[1:] == hashes[:-1]]), dtype=pl.UInt64)

    def judge(self, kept_ids: Iterable[pl.Series]) -> None:
        """Refuse a file that cannot be what the survey says.

        Parameters
        ----------
        kept_ids
            The parts' `kept_ids` once more; they are looked at only where an id may stand twice.

        Raises
        ------
        EmptyCatalog, DuplicateIds, VotesDisagree
            As their names say.
        """
        where, n = str(self._path), f"{self.n_read:,}"
        if not self.n_read:
            raise EmptyCatalog("the catalog has no rows", where=where, fix="download or export it again")
        if self.n_filtered == self.n_read:
            raise EmptyCatalog(
                f"the filter of survey {self._survey.name!r} keeps none of {n} rows",
                where=where,
                problems=[f"{name} is {', '.join(found) or 'empty'} ..." for name, found in self._seen.items()],
                expected=self._survey.catalog.where,
                fix='give the survey\'s own table, or write a variant (extends = "...") with another `where`',
            )
        doubtful = self.doubtful()
        if len(doubtful):
            self._refuse_repeated(pl.concat([ids.filter(ids.hash().is_in(doubtful)) for ids in kept_ids]))
        self._agreement.judge(where)
        if not self.n_galaxies:
            raise EmptyCatalog(
                f"none of {n} rows is usable: {self.n_filtered:,} left out by the filter, {self.n_failed:,} failed",
                where=where,
                problems=[f"{failure.id_str}: {failure.reason}: {failure.detail}" for failure in self._first_failures],
                fix="check the column names in the survey's [catalog]",
            )

    def _refuse_repeated(self, ids: pl.Series) -> None:
        repeated = ids.filter(ids.is_duplicated()).unique(maintain_order=True)
        if len(repeated):
            raise DuplicateIds(
                f"{len(repeated):,} ids stand in more than one row",
                where=f"{self._path}, column {self._survey.catalog.id!r}, for example {', '.join(repeated.head(3))}",
                expected="one row a galaxy",
                fix="keep one row of each, or let the survey's `where` choose, for example by sample",
            )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know: tables that were not given, rows without partner, galaxies without position."""
        survey = self._survey
        kept = self.n_read - self.n_filtered
        notes = [*self._notes]
        notes += [f"{n:,} of {self.n_read:,} rows have no partner in {table}" for table, n in self._alone.items() if n]
        notes += self._agreement.notes
        archive = survey.archive
        if survey.catalog.image is None and archive and archive.mapping and not self._mapped:
            notes.append(
                f"no mapping file was given: which image belongs to which galaxy ({archive.member}) is not known"
            )
        if self._unmapped:
            notes.append(f"{self._unmapped:,} of {kept:,} galaxies are not in the mapping file")
        alone = "so that only files can give their images"
        if survey.catalog.ra is not None and self._unplaced:
            notes.append(f"{self._unplaced:,} of {self.n_galaxies:,} galaxies have no position, {alone}")
        if survey.pixscale is not None and self._unscaled:
            notes.append(f"{self._unscaled:,} of {self.n_galaxies:,} galaxies have no pixel scale, {alone}")
        return tuple(notes)
