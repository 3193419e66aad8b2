"""The columns a survey needs, from its catalog file and the tables joined to it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from gzflow.catalog.columns import (
    as_ids,
    column_batches,
    header,
    near_matches,
    read_columns,
    refuse_repeated,
    resolve,
    without_missing,
)
from gzflow.catalog.members import placeholders
from gzflow.catalog.recognition import recognised
from gzflow.errors import CatalogError, MissingColumns
from gzflow.surveys.survey import Join, Survey


@dataclass(frozen=True)
class _Partner:
    """A joined table: `frame` has the wanted columns and ``__key``, once each."""

    join: Join
    frame: pl.DataFrame


class Assembly:
    """A catalog file and the tables joined to it, as one table in the survey's spelling.

    The joined tables are held in memory, only their wanted columns; the catalog file is read in slices.

    Parameters
    ----------
    survey
        Says which columns are needed.
    path
        The catalog file.
    joins
        Files of the survey's ``[[catalog.join]]`` tables, by their `table` name.

    Attributes
    ----------
    names
        All columns of the slices; those of tables that were not given are NULL.
    notes
        Which columns these are, which others the table may lack and does, and what the survey says of columns that it
        does not read.

    Raises
    ------
    MissingColumns
        All missing columns of all tables, with near matches.
    CatalogError
        A table that the survey does not know; ids that are floats or stand twice in a joined table.
    """

    def __init__(self, survey: Survey, path: Path, joins: Mapping[str, Path]) -> None:
        _refuse_unknown(survey, joins)
        self._survey, self._path = survey, path
        headers = {"": header(path)} | {join.table: header(joins[join.table]) for join in _given(survey, joins)}
        places, awaited, lacking = _places(survey, path, joins, headers)
        self._empty = (*awaited, *lacking)
        _refuse_repeated(path, headers[""], places[""])
        self._own = places[""]
        self._partners = tuple(
            _partner(join, joins[join.table], places[join.table], headers[join.table]) for join in _given(survey, joins)
        )
        absent = [join.table for join in survey.catalog.join if join.table not in joins]
        notes = [f"table {' and '.join(absent)} was not given: no {', '.join(awaited)}"] if awaited else []
        notes += [f"the table has no {', '.join(lacking)}"] if lacking else []
        self.names = tuple(name for table in places.values() for name in table) + self._empty
        self.notes = (*notes, *_idle(survey, self.names))

    def batches(self, rows: int, only: Collection[str] | None = None) -> Iterator[tuple[pl.DataFrame, dict[str, int]]]:
        """At most `rows` rows at a time, ids and other text as written; and how many have no partner in which table.

        The same rows again at each call; at least one frame. With `only`, at least these columns.
        """
        keys = {partner.join.id or self._survey.catalog.id for partner in self._partners}
        names = {w: there for w, there in self._own.items() if only is None or w in only or w in keys}
        for own in column_batches(self._path, names, rows):
            _refuse_nested(own, self._path)
            frame, alone = own, {}
            for partner in self._partners:
                frame, alone[partner.join.table] = self._joined(frame, partner)
            frame = without_missing(frame, self._survey.catalog.missing_values, self._survey.catalog.id)
            yield frame.with_columns(pl.lit(None, pl.Float64).alias(name) for name in self._empty), alone

    def _joined(self, frame: pl.DataFrame, partner: _Partner) -> tuple[pl.DataFrame, int]:
        own = partner.join.id or self._survey.catalog.id
        keyed = frame.with_columns(as_ids(frame[own], f"{self._path}, column {own!r}").alias("__key"))
        merged = keyed.join(partner.frame, on="__key", how="left", maintain_order="left")
        return merged.drop("__key", "__partner"), merged["__partner"].null_count()


def sql_columns(expression: str | float | None) -> list[str]:
    """Columns that an SQL expression reads; none for a number."""
    return pl.sql_expr(expression).meta.root_names() if isinstance(expression, str) else []


def _places(
    survey: Survey, path: Path, joins: Mapping[str, Path], headers: Mapping[str, list[str]]
) -> tuple[dict[str, dict[str, str]], tuple[str, ...], tuple[str, ...]]:
    """(for each table: wanted column -> its name there; columns of tables not given; columns that may be lacking)."""
    needed, optional = _wanted(survey)
    absent = [join.table for join in survey.catalog.join if join.table not in joins]
    places: dict[str, dict[str, str]] = {table: {} for table in headers}
    problems, empty, lacking = [], [], []
    carried = survey.carried_columns()
    lenient = {name for entry in survey.catalog.carry_if_present for name in carried[entry]}.difference(needed)
    for name in (*needed, *optional):
        table = next((table for table, present in headers.items() if resolve([name], present)), None)
        if table is not None:
            places[table] |= resolve([name], headers[table])
        elif absent and name in optional:
            empty.append(name)
        elif name in lenient:
            lacking.append(name)
        else:
            everywhere = [column for present in headers.values() for column in present]
            elsewhere = f" (it may be in {' or '.join(absent)}, which was not given)" if absent else ""
            problems.append(f"{name!r}{near_matches(name, everywhere) or elsewhere}")
    problems += [
        f"{join.on!r} in {joins[join.table]}{near_matches(join.on, headers[join.table])}"
        for join in _given(survey, joins)
        if not resolve([join.on], headers[join.table])
    ]
    if problems:
        raise MissingColumns(
            f"the table lacks {len(problems)} column(s) that survey {survey.name!r} names",
            where=str(path),
            problems=problems,
            expected=f"the columns of {survey.about.title or survey.name}",
            fix=_other_survey(survey, headers[""])
            or 'give the table that the survey describes, or describe yours: a TOML with extends = "<survey>" that'
            " overrides the names",
        )
    return places, tuple(empty), tuple(lacking)


def _other_survey(survey: Survey, present: list[str]) -> str:
    known = [name for name in recognised(present) if name != survey.name]
    return f"the table has all columns of survey {known[0]}: name that one" if known else ""


def _idle(survey: Survey, read: Sequence[str]) -> list[str]:
    """Entries of ``[catalog] missing`` without effect: slips of the pen, or inherited from a survey that reads more."""
    idle = [name for name in survey.catalog.missing if name != "*" and name not in read]
    return [
        f"[catalog] missing names {name!r}, which the survey does not read{near_matches(name, read)}" for name in idle
    ]


def _refuse_unknown(survey: Survey, joins: Mapping[str, Path]) -> None:
    known = [join.table for join in survey.catalog.join]
    unknown = [name for name in joins if name not in known]
    if unknown:
        raise CatalogError(
            f"survey {survey.name!r} joins no table called {' or '.join(unknown)}",
            expected=f"one of {', '.join(known)}" if known else "no joined table",
            fix="leave it out, or describe it with [[catalog.join]] in the survey's TOML",
        )


def _refuse_repeated(path: Path, present: list[str], places: Mapping[str, str]) -> None:
    repeated = [name for name in places.values() if present.count(name) > 1]
    if repeated:
        raise CatalogError(
            "columns that the survey needs stand twice in the header",
            where=str(path),
            problems=[f"{name!r}: {present.count(name)} times" for name in dict.fromkeys(repeated)],
            expected="one column of each name",
            fix="rename or remove the others: nobody can say which of them is meant",
        )


def _refuse_nested(frame: pl.DataFrame, path: Path) -> None:
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    if nested:
        raise CatalogError(
            "columns that the survey needs hold lists or structures, not one value a row",
            where=str(path),
            problems=[f"{name!r}: {frame.schema[name]}" for name in nested],
            expected="numbers or text",
            fix="write the table again with a column for each of their elements",
        )


def _given(survey: Survey, joins: Mapping[str, Path]) -> list[Join]:
    return [join for join in survey.catalog.join if join.table in joins]


def _wanted(survey: Survey) -> tuple[list[str], list[str]]:
    """(columns without which nothing works, columns that may stay empty with a table that was not given)."""
    catalog = survey.catalog
    needed = [catalog.id, *(name for name in (catalog.ra, catalog.dec, catalog.image) if name)]
    needed += sql_columns(catalog.where)
    needed += [name for pair in survey.vote_columns() for name in pair if name]
    needed += [join.id for join in catalog.join if join.id]
    carried = [name for columns in survey.carried_columns().values() for name in columns]
    optional = [*carried, *sql_columns(survey.pixscale)]
    if survey.archive is not None and catalog.image is None:
        mapping = survey.archive.mapping
        optional += mapping.also if mapping else placeholders(survey.archive.member)
    needed = list(dict.fromkeys(needed))
    return needed, [name for name in dict.fromkeys(optional) if name not in needed]


def _partner(join: Join, path: Path, places: Mapping[str, str], present: list[str]) -> _Partner:
    table = read_columns(path, {"__key": resolve([join.on], present)[join.on], **places})
    _refuse_nested(table, path)
    table = table.with_columns(as_ids(table["__key"], f"{path}, column {join.on!r}"), __partner=True)
    table = table.filter(pl.col("__key").is_not_null())
    refuse_repeated(table["__key"], f"the joined table {join.table!r}", f"{path}, column {join.on!r}")
    return _Partner(join, table)
