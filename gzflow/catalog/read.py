"""Any Galaxy Zoo table -> one frame of galaxies, one of votes, and every row that is in neither."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from gzflow.catalog.assemble import assembled, sql_columns
from gzflow.catalog.carried import carried
from gzflow.catalog.columns import as_ids, as_numbers, as_written
from gzflow.catalog.failure import Failure
from gzflow.catalog.members import mapped, placeholders, rendered
from gzflow.catalog.votes import whole_votes
from gzflow.errors import CatalogError, DuplicateIds, EmptyCatalog
from gzflow.surveys.survey import Survey

log = logging.getLogger(__name__)
STAGE = "catalog"
MISSING_ID = "missing-id"
"""Reason of a row that no id names; such a failure belongs to the file, not to a galaxy."""


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
        Rows that cannot be used, one failure each, with reason (``missing-id``, ``bad-position``, ``bad-votes``,
        ``votes-disagree``) and detail.
    rounding_residual
        Largest distance, in votes, between published votes and the whole number kept.
    notes
        What a person should know: galaxies without position, tables that were not given.
    filtered_ids
        Ids that only rows left out carry: an earlier read without the filter may have stored them.
    """

    galaxies: pl.DataFrame
    votes: pl.DataFrame
    n_read: int
    n_filtered: int
    failures: tuple[Failure, ...]
    rounding_residual: float
    notes: tuple[str, ...]
    filtered_ids: tuple[str, ...] = ()

    @property
    def n_failed(self) -> int:
        """Rows that cannot be used: each has one failure."""
        return len(self.failures)


def read_catalog(
    survey: Survey, path: Path, *, joins: Mapping[str, Path] | None = None, mapping: Path | None = None
) -> CatalogTable:
    """Galaxies and votes of a catalog file, read as `survey` says.

    Only the columns that are needed are read. Column names match exactly or, where that is unambiguous, but for case.
    Ids are text from the first read. Two rows with one id are an error even if they agree: nobody could say which of
    them an update changes.

    Parameters
    ----------
    survey
        Which columns mean what.
    path
        ``.csv``, ``.csv.gz`` or ``.parquet``.
    joins
        Files of the survey's ``[[catalog.join]]`` tables, by their `table` name. Columns of a table that is not given
        are empty, unless the filter or the votes need them.
    mapping
        File of ``[archive.mapping]``: which image belongs to which galaxy.

    Raises
    ------
    MissingColumns
        All of them, with near matches.
    EmptyCatalog
        No rows, none after the filter, or none usable.
    LossyIds, DuplicateIds, VotesDisagree, CatalogError
        As their names say.
    """
    if mapping is not None and (survey.archive is None or survey.archive.mapping is None):
        raise CatalogError(
            f"survey {survey.name!r} has no [archive.mapping]",
            where=str(mapping),
            fix="leave the mapping file out, or say in the survey's TOML what its columns are",
        )
    source = assembled(survey, path, joins or {})
    frame = _filtered(survey, source.frame, path)
    n_read, n_filtered = len(source.frame), len(source.frame) - len(frame)
    every_id = source.frame[survey.catalog.id].cast(pl.String)
    frame, failures = _identified(survey, frame, path)
    frame, misplaced = _positioned(survey, frame)
    votes = whole_votes(survey, frame, where=str(path))
    misvoted = [Failure(frame["__id"][row], STAGE, reason, detail) for row, reason, detail in votes.problems]
    failures += _one_each([*misplaced, *misvoted])
    images, notes = _images(survey, frame, mapping)
    galaxies = pl.DataFrame(
        {
            "id_str": frame["__id"],
            "ra": frame["__ra"],
            "dec": frame["__dec"],
            "pixscale": _pixscale(survey, frame, path),
            "image": images,
            "carried": carried(survey, frame),
        }
    )
    counts = pl.DataFrame(votes.counts, schema=dict.fromkeys(survey.tree.answers, pl.Int32), orient="row")
    counts = counts.insert_column(0, galaxies["id_str"])
    kept = ~galaxies["id_str"].is_in([failure.id_str for failure in failures])
    galaxies, counts = galaxies.filter(kept), counts.filter(kept)
    if galaxies.is_empty():
        raise EmptyCatalog(
            f"none of {n_read:,} rows is usable: {n_filtered:,} left out by the filter, {n_read - n_filtered:,} failed",
            where=str(path),
            problems=[f"{failure.id_str}: {failure.reason}: {failure.detail}" for failure in failures[:5]],
            fix="check the column names in the survey's [catalog]",
        )
    notes = [*source.notes, *votes.notes, *notes, *_remarks(survey, galaxies)]
    filtered = every_id.filter(~every_id.is_in(frame["__id"].to_list())).drop_nulls() if n_filtered else every_id[:0]
    table = CatalogTable(
        galaxies, counts, n_read, n_filtered, tuple(failures), votes.residual, tuple(notes), tuple(filtered)
    )
    log.info("%s: %d rows, %d left out, %d failed", path.name, n_read, n_filtered, table.n_failed)
    return table


def _filtered(survey: Survey, frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    if frame.is_empty():
        raise EmptyCatalog("the catalog has no rows", where=str(path), fix="download or export it again")
    where = survey.catalog.where
    if where is None:
        return frame
    kept = frame.filter(_evaluated(where, "catalog.where", frame, path, pl.Boolean).fill_null(value=False))
    if kept.is_empty():
        columns = {name: frame[name].drop_nulls().unique(maintain_order=True).head(3) for name in sql_columns(where)}
        raise EmptyCatalog(
            f"the filter of survey {survey.name!r} keeps none of {len(frame):,} rows",
            where=str(path),
            problems=[f"{name} is {', '.join(map(str, found)) or 'empty'} ..." for name, found in columns.items()],
            expected=where,
            fix='give the survey\'s own table, or write a variant (extends = "...") with another `where`',
        )
    return kept


def _evaluated(expression: str, key: str, frame: pl.DataFrame, path: Path, dtype: type[pl.DataType]) -> pl.Series:
    """An SQL expression of the survey over the columns it names, each as the type that all of its text has."""
    columns = sql_columns(expression)
    _refuse_mixed(key, frame, columns, path)
    # A literal column keeps the height of a frame for expressions that read none.
    typed = pl.DataFrame({"__row": range(len(frame))} | {name: as_written(frame[name]) for name in columns})
    try:
        result = typed.select("__row", pl.sql_expr(expression).cast(dtype).alias("value"))["value"]
    except pl.exceptions.PolarsError as error:
        raise CatalogError(
            f"the survey's {key} does not work on this table",
            where=f"{path}: {', '.join(f'{name} ({typed[name].dtype})' for name in columns)}",
            expected=expression,
            fix=f"correct the expression or the column; polars says: {error}",
        ) from error
    return result


def _refuse_mixed(key: str, frame: pl.DataFrame, columns: Iterable[str], path: Path) -> None:
    """Refuse columns of numbers with some text: SQL would compare all of them as text, without a word."""
    problems = []
    for name in columns:
        if as_written(frame[name]).dtype == pl.String:
            numbers, unreadable = as_numbers(frame[name])
            n_numbers, n_texts = len(numbers) - numbers.null_count(), int(unreadable.sum())
            if 0 < n_texts < n_numbers:
                examples = ", ".join(frame[name].filter(unreadable).unique(maintain_order=True).head(3))
                problems.append(f"{name}: {n_numbers:,} numbers and {n_texts:,} texts, for example {examples}")
    if problems:
        raise CatalogError(
            f"the survey's {key} needs numbers where this table has text",
            where=str(path),
            problems=problems,
            expected="numbers, or nothing (an empty cell, NaN, null, none, n/a, --)",
            fix="replace these texts in the table",
        )


def _identified(survey: Survey, frame: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, list[Failure]]:
    column = survey.catalog.id
    frame = frame.with_columns(as_ids(frame[column], f"{path}, column {column!r}").alias("__id"))
    unnamed = frame["__id"].is_null()
    failures = [
        Failure(f"row {row + 1} of those kept", STAGE, MISSING_ID, f"column {column!r} is empty")
        for row in unnamed.arg_true().to_list()
    ]
    frame = frame.filter(~unnamed)
    repeated = frame.filter(frame["__id"].is_duplicated())["__id"].unique(maintain_order=True)
    if len(repeated):
        raise DuplicateIds(
            f"{len(repeated):,} ids stand in more than one row",
            where=f"{path}, column {column!r}, for example {', '.join(repeated.head(3))}",
            expected="one row a galaxy",
            fix="keep one row of each, or let the survey's `where` choose, for example by sample",
        )
    return frame, failures


def _positioned(survey: Survey, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[Failure]]:
    """Add ``__ra`` in [0, 360) and ``__dec``; without both of them a galaxy has no position, which is allowed."""
    catalog = survey.catalog
    if catalog.ra is None or catalog.dec is None:
        nothing = pl.lit(None, pl.Float64)
        return frame.with_columns(nothing.alias("__ra"), nothing.alias("__dec")), []
    ra, no_ra = as_numbers(frame[catalog.ra])
    dec, no_dec = as_numbers(frame[catalog.dec])
    both = ra.is_not_null() & dec.is_not_null()
    outside = (both & (~ra.is_between(-180.0, 360.0) | ~dec.is_between(-90.0, 90.0))).fill_null(value=False)
    failures = [
        Failure(
            frame["__id"][row],
            STAGE,
            "bad-position",
            f"{catalog.ra} = {frame[catalog.ra][row]}, {catalog.dec} = {frame[catalog.dec][row]}:"
            " expected degrees, ra in -180..360, dec in -90..90",
        )
        for row in (no_ra | no_dec | outside).arg_true().to_list()
    ]
    placed = pl.DataFrame({"ra": ra % 360.0, "dec": dec, "both": both})
    columns = placed.select(pl.when("both").then("ra").alias("__ra"), pl.when("both").then("dec").alias("__dec"))
    return frame.hstack(columns), failures


def _one_each(failures: Iterable[Failure]) -> list[Failure]:
    """The first failure of each galaxy, with the details of all of them."""
    first: dict[str, Failure] = {}
    for failure in failures:
        earlier = first.setdefault(failure.id_str, failure)
        if earlier is not failure:
            first[failure.id_str] = replace(earlier, detail=f"{earlier.detail}; {failure.detail}")
    return list(first.values())


def _pixscale(survey: Survey, frame: pl.DataFrame, path: Path) -> pl.Series:
    rule = survey.cutout.pixscale if survey.cutout else None
    if rule is None or isinstance(rule, float):
        return pl.Series("pixscale", [rule] * len(frame), dtype=pl.Float64)
    scale = _evaluated(rule, "cutout.pixscale", frame, path, pl.Float64).to_frame("scale")
    usable = pl.col("scale").is_finite() & (pl.col("scale") > 0)
    return scale.select(pl.when(usable).then("scale").alias("pixscale")).to_series()


def _images(survey: Survey, frame: pl.DataFrame, mapping: Path | None) -> tuple[pl.Series, list[str]]:
    nothing = pl.Series("image", [None] * len(frame), dtype=pl.String)
    if survey.catalog.image is not None:
        return frame[survey.catalog.image].cast(pl.String).alias("image"), []
    if survey.archive is None:
        return nothing, []
    member, section = survey.archive.member, survey.archive.mapping
    values = {"id": frame["__id"]}
    names = placeholders(member)
    if section is None:
        values |= {name: as_ids(frame[name], f"column {name!r}") for name in names}
        return rendered(member, values).alias("image"), []
    if mapping is None:
        return nothing, [f"no mapping file was given: which image belongs to which galaxy ({member}) is not known"]
    keys = pl.DataFrame({"id": frame["__id"]} | {name: frame[name].cast(pl.String) for name in section.also})
    found = mapped(section, mapping, keys, names)
    images = rendered(member, values | {name: found[name] for name in names}).alias("image")
    absent = images.null_count()
    return images, [f"{absent:,} of {len(frame):,} galaxies are not in the mapping file"] if absent else []


def _remarks(survey: Survey, galaxies: pl.DataFrame) -> list[str]:
    remarks = []
    alone = "so that only files can give their images"
    if survey.catalog.ra is not None and (missing := galaxies["ra"].null_count()):
        remarks.append(f"{missing:,} of {len(galaxies):,} galaxies have no position, {alone}")
    if survey.cutout is not None and (missing := galaxies["pixscale"].null_count()):
        remarks.append(f"{missing:,} of {len(galaxies):,} galaxies have no pixel scale, {alone}")
    return remarks
