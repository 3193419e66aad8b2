"""Any Galaxy Zoo table -> one frame of galaxies, one of votes, and every row that is in neither."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import polars as pl

from gzflow.catalog.assemble import Assembly
from gzflow.catalog.catalog_file import CatalogFile
from gzflow.catalog.failure import Failure
from gzflow.catalog.members import ImageMapping, placeholders
from gzflow.catalog.part import CatalogPart, PartReader, typed_columns
from gzflow.catalog.spool import CatalogSpool
from gzflow.catalog.tally import Tally
from gzflow.catalog.written import WrittenType
from gzflow.errors import CatalogError
from gzflow.surveys.survey import Survey

log = logging.getLogger(__name__)
# Cells held at a time: some 200 MB of text, however many columns a survey needs.
_CELLS = 3_000_000
_MOST_ROWS, _FEWEST_ROWS = 250_000, 10_000
_EVERY = 10.0
"""Seconds between two lines about a long read."""


@dataclass(frozen=True)
class CatalogTable:
    """One catalog file as its survey reads it.

    Every row is in exactly one place: ``n_read == len(galaxies) + n_filtered + n_failed``.

    Attributes
    ----------
    galaxies
        ``id_str``, ``ra``, ``dec`` (degrees; NULL without position), ``pixscale`` (arcsec/pixel; NULL when unknown),
        ``image`` (path or archive member; NULL when the catalog does not say), ``carried`` (JSON object of the
        survey's `carry` columns).
    votes
        ``id_str`` and one int32 column an answer, rows as in `galaxies`.
    n_read
        Rows of the file.
    n_filtered
        Rows that the survey's `where` leaves out.
    failures
        Rows that cannot be used, one failure each, with reason (``missing-id``, ``bad-position``, ``bad-image-name``,
        ``bad-votes``, ``votes-disagree``) and detail.
    rounding_residual
        Largest distance, in votes, between published votes and the whole number kept.
    notes
        What a person should know: galaxies without position, tables that were not given.
    filtered_ids
        Ids that only rows left out carry: an earlier read without the filter may have stored them.
    source
        The file; None for a table that was made otherwise.
    """

    galaxies: pl.DataFrame
    votes: pl.DataFrame
    n_read: int
    n_filtered: int
    failures: tuple[Failure, ...]
    rounding_residual: float
    notes: tuple[str, ...]
    filtered_ids: tuple[str, ...] = ()
    source: CatalogFile | None = None

    @property
    def n_failed(self) -> int:
        """Rows that cannot be used: each has one failure."""
        return len(self.failures)

    @property
    def n_galaxies(self) -> int:
        """Rows with a galaxy that can be used."""
        return len(self.galaxies)

    def parts(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """(galaxies, votes), in one part."""
        yield self.galaxies, self.votes

    def failed(self) -> Iterator[list[Failure]]:
        """Failures, in one part."""
        yield list(self.failures)

    def left_out(self) -> Iterator[list[str]]:
        """`filtered_ids`, in one part."""
        yield list(self.filtered_ids)


def read_catalog(
    survey: Survey,
    path: Path,
    *,
    joins: Mapping[str, Path] | None = None,
    mapping: Path | None = None,
    rows: int | None = None,
) -> CatalogTable:
    """Galaxies and votes of a catalog file, read as `survey` says, in memory.

    Only the columns that are needed are read. Column names match exactly or, where that is unambiguous, but for case.
    Ids are text from the first read. Two rows with one id are an error even if they agree: nobody could say which of
    them an update changes.

    Parameters
    ----------
    survey
        Which columns mean what.
    path
        CSV, Parquet, FITS or VOTable; CSV, FITS and VOTable also gzipped.
    joins
        Files of the survey's ``[[catalog.join]]`` tables, by their `table` name. Columns of a table that is not given
        are empty, unless the filter or the votes need them.
    mapping
        File of ``[archive.mapping]``: which image belongs to which galaxy.
    rows
        Rows read at a time; the result does not depend on it. None chooses by the number of columns.

    Raises
    ------
    MissingColumns
        All of them, with near matches.
    EmptyCatalog
        No rows, none after the filter, or none usable.
    LossyIds, DuplicateIds, VotesDisagree, CatalogError
        As their names say.
    """
    tally, reading = _reading(survey, path, joins or {}, mapping, rows)
    parts = list(reading)
    tally.judge(part.kept_ids for part in parts)
    kept = pl.concat([part.kept_ids for part in parts])
    filtered = pl.concat([part.filtered_ids for part in parts])
    return CatalogTable(
        pl.concat([part.galaxies for part in parts]),
        pl.concat([part.votes for part in parts]),
        tally.n_read,
        tally.n_filtered,
        tuple(chain.from_iterable(part.failures for part in parts)),
        tally.residual,
        tally.notes,
        tuple(filtered.filter(~filtered.is_in(kept.to_list()))),
        CatalogFile.of(path),
    )


def spool_catalog(
    survey: Survey,
    path: Path,
    *,
    folder: Path,
    joins: Mapping[str, Path] | None = None,
    mapping: Path | None = None,
    rows: int | None = None,
) -> CatalogSpool:
    """The same as `read_catalog`, with its rows on disk: memory does not grow with the catalog's size.

    Nothing is given back before the whole file was read and judged. Joined tables and the mapping are held in memory;
    so are the wanted columns of a VOTable.

    Parameters
    ----------
    folder
        Where the rows wait, in a folder of their own.
    """
    tally, reading = _reading(survey, path, joins or {}, mapping, rows)
    spool = CatalogSpool(CatalogFile.of(path), folder)
    try:
        for part in reading:
            spool.put(part)
        spool.close_books(tally)
    except BaseException:
        spool.close()
        raise
    log.info("%s: %d rows, %d left out, %d failed", path.name, spool.n_read, spool.n_filtered, spool.n_failed)
    return spool


def _reading(
    survey: Survey, path: Path, joins: Mapping[str, Path], mapping: Path | None, rows: int | None
) -> tuple[Tally, Iterator[CatalogPart]]:
    """The parts of a file, and the tally that is complete when all of them were taken."""
    section = survey.archive.mapping if survey.archive else None
    if mapping is not None and (survey.archive is None or section is None):
        raise CatalogError(
            f"survey {survey.name!r} has no [archive.mapping]",
            where=str(mapping),
            fix="leave the mapping file out, or say in the survey's TOML what its columns are",
        )
    assembly = Assembly(survey, path, joins)
    images = None
    if mapping is not None and section is not None and survey.archive is not None:
        images = ImageMapping(section, mapping, placeholders(survey.archive.member))
    tally = Tally(survey, path, assembly.notes, mapped=images is not None)
    rows = rows or max(_FEWEST_ROWS, min(_MOST_ROWS, _CELLS // max(1, len(assembly.names))))
    return tally, _parts(survey, path, assembly, images, tally, rows)


def _parts(
    survey: Survey, path: Path, assembly: Assembly, images: ImageMapping | None, tally: Tally, rows: int
) -> Iterator[CatalogPart]:
    batches = assembly.batches(rows)
    first = next(batches)
    second = next(batches, None)
    reader = PartReader(survey, path, _types(survey, assembly, first[0], whole=second is None, rows=rows), images)
    said = time.monotonic()
    for frame, alone in chain([first], [second] if second else [], batches):
        tally.look(frame)
        part = reader.part(frame, alone, first_row=tally.n_read, first_kept=tally.n_read - tally.n_filtered)
        tally.add(part)
        yield part
        if time.monotonic() - said > _EVERY:
            said = time.monotonic()
            log.info("%s: %s rows read", path.name, f"{tally.n_read:,}")


def _types(
    survey: Survey, assembly: Assembly, first: pl.DataFrame, *, whole: bool, rows: int
) -> dict[str, WrittenType]:
    """Types of whole columns; text of a file that comes in several parts is read through once for them."""
    names = typed_columns(survey)
    types = {name: WrittenType.of(first[name]) for name in names}
    texts = [name for name in names if first[name].dtype == pl.String]
    if whole or not texts:
        return types
    types |= {name: WrittenType() for name in texts}
    for frame, _ in assembly.batches(rows, only=texts):
        types |= {name: types[name] + WrittenType.of(frame[name]) for name in texts}
    return types
