"""Counted votes as the table that a survey describes, so that ingest reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gzflow.catalog.assemble import sql_columns
from gzflow.catalog.columns import as_ids, header, read_columns, refuse_repeated, resolve
from gzflow.catalog.members import placeholders
from gzflow.catalog.zooniverse.counted import Counted
from gzflow.errors import MissingColumns, SurveyError
from gzflow.surveys import Survey


@dataclass(frozen=True)
class SurveyTable:
    """Votes and what else the survey names, one row a galaxy.

    Attributes
    ----------
    frame
        The survey's columns, and ``classifications``.
    empty
        Columns that neither the subjects' metadata nor the catalog have: NULL throughout.
    unknown
        Galaxies that the catalog does not know.
    """

    frame: pl.DataFrame
    empty: tuple[str, ...]
    unknown: tuple[str, ...]


def other_columns(survey: Survey) -> list[str]:
    """Columns besides the id and the votes that the survey reads, each once."""
    catalog = survey.catalog
    names = [name for name in (catalog.ra, catalog.dec, catalog.image) if name]
    names += sql_columns(catalog.where)
    names += [column for columns in survey.carried_columns().values() for column in columns]
    names += sql_columns(survey.pixscale)
    if survey.archive is not None and catalog.image is None:
        mapping = survey.archive.mapping
        names += mapping.also if mapping else placeholders(survey.archive.member)
    votes = {name for pair in survey.vote_columns() for name in pair}
    return [name for name in dict.fromkeys(names) if name not in votes and name != catalog.id]


def require_countable(survey: Survey) -> None:
    """Refuse a survey whose votes are not counts, nor fractions of a total.

    Raises
    ------
    SurveyError
        It has none, or they are written in another form.
    """
    votes = survey.catalog.votes
    if votes is None or not (votes.count or votes.fraction):
        raise SurveyError(
            f"survey {survey.name!r} does not say how a catalog writes votes as counts or fractions",
            expected="[catalog.votes] with count, or with fraction and total",
            fix='take a survey with extends = "..." that says so',
        )


def survey_table(survey: Survey, counted: Counted, catalog: Path | None = None) -> SurveyTable:
    """The counted votes under the survey's own column names.

    Fractions are votes over their total, and empty where nobody was asked. What else the survey reads comes for each
    galaxy from the catalog, else from its subject's metadata, else it is empty.

    Parameters
    ----------
    catalog
        A table of the same galaxies.

    Raises
    ------
    SurveyError
        See `require_countable`.
    MissingColumns, DuplicateIds
        The catalog lacks the survey's id, or has a galaxy twice.
    """
    require_countable(survey)
    frame = pl.DataFrame({survey.catalog.id: pl.Series(list(counted.ids), dtype=pl.String)})
    frame = frame.with_columns(_vote_columns(survey, counted))
    names = other_columns(survey)
    known = _from_catalog(survey, catalog, frame[survey.catalog.id], names) if catalog else pl.DataFrame()
    columns: list[pl.Series] = []
    for name in names:
        told = pl.Series(name, [_cell(entry.get(name)) for entry in counted.metadata], strict=False)
        columns.append(_filled(known[name], told) if name in known.columns else told)
    frame = frame.with_columns(columns)
    unknown = frame.filter(~known["__known"])[survey.catalog.id].to_list() if catalog else []
    empty = tuple(name for name in names if frame[name].null_count() == len(frame))
    return SurveyTable(frame.with_columns(classifications=pl.Series(counted.classifications)), empty, tuple(unknown))


def _vote_columns(survey: Survey, counted: Counted) -> list[pl.Series]:
    section = survey.catalog.votes
    assert section is not None
    pairs = survey.vote_columns()
    number = {column: answer for answer, column in enumerate(survey.tree.answers)}
    given = [counted.votes[:, number[column]] for q in survey.described.questions for column in q.given]
    totals: dict[str, NDArray[np.int64]] = {}
    for question, part in zip(survey.described.questions, survey.described.slices, strict=True):
        total = pairs[part.start][1]
        if total is None:
            continue
        if question.multiple_choice and "{" in (section.total or ""):
            # Ticks do not add up to anything: the total of check boxes is who saw them, ticked or not.
            first = number[question.given[0]]
            totals[total] = counted.votes[:, first] + counted.votes[:, first + 1]
        else:
            totals[total] = totals.get(total, 0) + np.sum(given[part], axis=0)
    series = []
    for (column, total), votes in zip(pairs, given, strict=True):
        if section.fraction and total is not None:
            asked = np.maximum(totals[total], 1)
            shares = pl.Series(column, votes / asked)
            series.append(shares.set(pl.Series(totals[total] == 0), None))
        else:
            series.append(pl.Series(column, votes))
    return series + [pl.Series(name, values) for name, values in totals.items()]


def _cell(value: object) -> object:
    """A value of the metadata as a table can hold it."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _filled(column: pl.Series, told: pl.Series) -> pl.Series:
    """The catalog's column, with what the metadata say where the catalog has nothing."""
    told = told.cast(column.dtype, strict=False)
    return column.zip_with(column.is_not_null(), told)


def _from_catalog(survey: Survey, path: Path, ids: pl.Series, names: Sequence[str]) -> pl.DataFrame:
    """Columns of the catalog for these galaxies, in their order, and ``__known``."""
    present = header(path)
    key = resolve([survey.catalog.id], present)
    if not key:
        raise MissingColumns(
            f"the catalog lacks the survey's id, {survey.catalog.id!r}",
            where=str(path),
            fix="give a table of the same galaxies",
        )
    table = read_columns(path, {"__id": key[survey.catalog.id], **resolve(names, present)})
    table = table.with_columns(as_ids(table["__id"], f"{path}, column {survey.catalog.id!r}"), __known=True)
    known = table["__id"].filter(table["__id"].is_in(ids.implode()))
    refuse_repeated(known, "the catalog", f"{path}, column {survey.catalog.id!r}")
    joined = ids.rename("__id").to_frame().join(table, on="__id", how="left", maintain_order="left")
    return joined.with_columns(pl.col("__known").fill_null(value=False))
