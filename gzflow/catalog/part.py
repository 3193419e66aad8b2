"""Some rows of a catalog: which are galaxies with votes, which are left out, which cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from gzflow.catalog.agreement import Agreement
from gzflow.catalog.assemble import sql_columns
from gzflow.catalog.carried import carried
from gzflow.catalog.columns import as_ids, as_numbers
from gzflow.catalog.failure import Failure
from gzflow.catalog.members import ImageMapping, placeholders, rendered
from gzflow.catalog.votes import part_votes
from gzflow.catalog.written import WrittenType
from gzflow.errors import CatalogError
from gzflow.surveys.survey import Survey

STAGE = "catalog"
MISSING_ID = "missing-id"
"""Reason of a row that no id names; such a failure belongs to the file, not to a galaxy."""


@dataclass(frozen=True)
class CatalogPart:
    """Rows of a catalog, each in exactly one place: ``n_read == len(galaxies) + n_filtered + len(failures)``.

    Attributes
    ----------
    galaxies, votes
        As in `gzflow.catalog.read.CatalogTable`.
    n_read, n_filtered
        Rows, and those that the survey's `where` leaves out.
    failures
        Rows that cannot be used.
    filtered_ids
        Ids that only rows left out carry, as far as this part goes.
    residual, agreement
        Of the votes: rounding, and what must add up.
    unmapped, alone
        Galaxies that the image mapping does not know; rows without partner, by joined table.
    """

    galaxies: pl.DataFrame
    votes: pl.DataFrame
    n_read: int
    n_filtered: int
    failures: tuple[Failure, ...]
    filtered_ids: pl.Series
    residual: float
    agreement: Agreement
    unmapped: int
    alone: Mapping[str, int]

    @property
    def kept_ids(self) -> pl.Series:
        """Ids of all rows that the filter kept, usable or not."""
        failed = [failure.id_str for failure in self.failures if failure.reason != MISSING_ID]
        return pl.concat([self.galaxies["id_str"], pl.Series("id_str", failed, dtype=pl.String)])


class PartReader:
    """Turns rows of one catalog file into parts.

    Parameters
    ----------
    survey, path
        Which columns mean what, and the file for messages.
    types
        Types that the text of whole columns has, for those that SQL reads and those that are carried.
    mapping
        Which image belongs to which galaxy, where a file says so.
    """

    def __init__(
        self, survey: Survey, path: Path, types: Mapping[str, WrittenType], mapping: ImageMapping | None
    ) -> None:
        self._survey, self._path, self._types, self._mapping = survey, path, types, mapping
        for key, expression in (("catalog.where", survey.catalog.where), ("pixscale", survey.pixscale)):
            self._refuse_mixed(key, sql_columns(expression))

    def part(self, frame: pl.DataFrame, alone: Mapping[str, int], *, first_row: int, first_kept: int) -> CatalogPart:
        """What becomes of the rows of `frame`.

        Parameters
        ----------
        frame
            As `gzflow.catalog.assemble.Assembly` gives it.
        alone
            Rows without partner.
        first_row, first_kept
            Rows of the file before these, and those among them that the filter kept.
        """
        survey, n_read = self._survey, len(frame)
        rows = frame.with_columns((pl.int_range(pl.len()) + (first_row + 1)).alias("__row"))
        every_id = frame[survey.catalog.id].cast(pl.String)
        rows, failures = self._identified(self._filtered(rows))
        n_filtered = n_read - len(rows) - len(failures)
        rows, misplaced = _positioned(survey, rows)
        votes = part_votes(survey, rows, first_row=first_kept)
        ids = rows["__id"]
        misvoted = [Failure(ids[row], STAGE, reason, detail) for row, reason, detail in votes.problems]
        images, unmapped = self._images(rows)
        unusable = _one_each([*misplaced, *misvoted, *_broken_names(ids, images)])
        galaxies = pl.DataFrame(
            {
                "id_str": ids,
                "ra": rows["__ra"],
                "dec": rows["__dec"],
                "pixscale": self._pixscale(rows),
                "image": images,
                "carried": carried(survey, self._typed(rows, _carried_columns(survey))),
            }
        )
        counts = pl.DataFrame(votes.counts, schema=dict.fromkeys(survey.tree.answers, pl.Int32), orient="row")
        counts = counts.insert_column(0, ids.alias("id_str"))
        usable = ~ids.is_in([failure.id_str for failure in unusable])
        filtered = every_id.filter(~every_id.is_in(ids.to_list())).drop_nulls() if n_filtered else every_id[:0]
        return CatalogPart(
            galaxies.filter(usable),
            counts.filter(usable),
            n_read,
            n_filtered,
            (*failures, *unusable),
            filtered.alias("id_str"),
            votes.residual,
            votes.agreement,
            unmapped,
            alone,
        )

    def _filtered(self, frame: pl.DataFrame) -> pl.DataFrame:
        where = self._survey.catalog.where
        if where is None:
            return frame
        return frame.filter(self._evaluated(where, "catalog.where", frame, pl.Boolean).fill_null(value=False))

    def _evaluated(self, expression: str, key: str, frame: pl.DataFrame, dtype: type[pl.DataType]) -> pl.Series:
        """An SQL expression of the survey over the columns it names, each as the type that all of its text has."""
        columns = sql_columns(expression)
        typed = self._typed(frame, columns)
        # Text without any value has no type yet: SQL would take it for words and refuse to reckon with it.
        nothing = [
            name
            for name in dict.fromkeys(columns)
            if typed[name].dtype == pl.String and typed[name].null_count() == len(typed)
        ]
        typed = typed.with_columns(pl.lit(None).alias(name) for name in nothing)
        try:
            # The row's number keeps the height of the frame for expressions that read none.
            return typed.select("__row", pl.sql_expr(expression).cast(dtype).alias("value"))["value"]
        except pl.exceptions.PolarsError as error:
            raise CatalogError(
                f"the survey's {key} does not work on this table",
                where=f"{self._path}: {', '.join(f'{name} ({typed[name].dtype})' for name in columns)}",
                expected=expression,
                fix=f"correct the expression or the column; polars says: {error}",
            ) from error

    def _typed(self, frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
        return frame.with_columns(self._types[name].applied(frame[name]) for name in dict.fromkeys(names))

    def _refuse_mixed(self, key: str, columns: Iterable[str]) -> None:
        mixed = {name: self._types[name] for name in columns if self._types[name].is_mixed}
        if mixed:
            raise CatalogError(
                f"the survey's {key} needs numbers where this table has text",
                where=str(self._path),
                problems=[
                    f"{name}: {kind.numbers:,} numbers and {kind.texts:,} texts, for example {', '.join(kind.examples)}"
                    for name, kind in mixed.items()
                ],
                expected="numbers, or nothing (an empty cell, NaN, null, none, n/a, --)",
                fix="replace these texts in the table, or name them in the survey's [catalog] missing",
            )

    def _identified(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[Failure]]:
        column = self._survey.catalog.id
        frame = frame.with_columns(as_ids(frame[column], f"{self._path}, column {column!r}").alias("__id"))
        # No database takes a NUL in text; where one stands in an id, the file is damaged.
        broken = pl.col("__id").str.contains("\0", literal=True).fill_null(value=False)
        failures = [
            Failure(
                f"row {row} of {self._path.name}",
                STAGE,
                MISSING_ID,
                f"column {column!r} " + ("is empty" if id_str is None else f"has a NUL character: {id_str!r}"),
            )
            for row, id_str in frame.filter(pl.col("__id").is_null() | broken).select("__row", "__id").iter_rows()
        ]
        frame = frame.filter(~broken)
        return frame.filter(pl.col("__id").is_not_null()), failures

    def _pixscale(self, frame: pl.DataFrame) -> pl.Series:
        rule = self._survey.pixscale
        if rule is None or isinstance(rule, float):
            return pl.Series("pixscale", [rule] * len(frame), dtype=pl.Float64)
        scale = self._evaluated(rule, "pixscale", frame, pl.Float64).to_frame("scale")
        usable = pl.col("scale").is_finite() & (pl.col("scale") > 0)
        if columns := sql_columns(rule):
            # GREATEST and LEAST pass over NULL: the floor of a rule would pass for the size of a galaxy without any.
            nothing = self._typed(frame, columns).select(pl.all_horizontal(pl.col(columns).is_null()).alias("nothing"))
            scale, usable = scale.hstack(nothing), usable & ~pl.col("nothing")
        return scale.select(pl.when(usable).then("scale").alias("pixscale")).to_series()

    def _images(self, frame: pl.DataFrame) -> tuple[pl.Series, int]:
        """(path or archive member of each row, how many of them a mapping does not know)."""
        nothing = pl.Series("image", [None] * len(frame), dtype=pl.String)
        archive = self._survey.archive
        if self._survey.catalog.image is not None:
            return frame[self._survey.catalog.image].cast(pl.String).alias("image"), 0
        if archive is None:
            return nothing, 0
        values = {"id": frame["__id"]}
        if archive.mapping is None:
            values |= {name: as_ids(frame[name], f"column {name!r}") for name in placeholders(archive.member)}
            return rendered(archive.member, values).alias("image"), 0
        if self._mapping is None:
            return nothing, 0
        keys = pl.DataFrame(values | {name: frame[name].cast(pl.String) for name in archive.mapping.also})
        found = self._mapping.of(keys)
        images = rendered(archive.member, values | {name: found[name] for name in found.columns}).alias("image")
        return images, images.null_count()


def typed_columns(survey: Survey) -> list[str]:
    """Columns whose text is taken as the type that all of it has."""
    used = [*sql_columns(survey.catalog.where), *sql_columns(survey.pixscale), *_carried_columns(survey)]
    return list(dict.fromkeys(used))


def _carried_columns(survey: Survey) -> list[str]:
    return [name for columns in survey.carried_columns().values() for name in columns]


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


def _broken_names(ids: pl.Series, images: pl.Series) -> list[Failure]:
    """Images that no disk and no database can have by their name."""
    broken = images.str.contains("\0", literal=True).fill_null(value=False).arg_true().to_list()
    return [
        Failure(ids[row], STAGE, "bad-image-name", f"the image's name has a NUL character: {images[row]!r}")
        for row in broken
    ]


def _one_each(failures: Iterable[Failure]) -> list[Failure]:
    """The first failure of each galaxy, with the details of all of them."""
    first: dict[str, Failure] = {}
    for failure in failures:
        earlier = first.setdefault(failure.id_str, failure)
        if earlier is not failure:
            first[failure.id_str] = replace(earlier, detail=f"{earlier.detail}; {failure.detail}")
    return list(first.values())
