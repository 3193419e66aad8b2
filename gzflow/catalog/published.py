"""Published predictions of other models, read for comparison: concentrations of several draws, or fractions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gzflow.catalog.columns import (
    as_ids,
    as_numbers,
    column_batches,
    header,
    near_matches,
    refuse_repeated,
    resolve,
)
from gzflow.errors import CatalogError, MissingColumns
from gzflow.surveys.survey import Survey
from gzflow.tree import DecisionTree

Kind = Literal["concentration", "fraction"]
KINDS: tuple[Kind, ...] = ("concentration", "fraction")

_ROWS = 20_000
"""Rows parsed at a time: 34 answers of 25 draws as text are about 7 kB a galaxy."""
_SHOWN = 5


@dataclass(frozen=True)
class PublishedPredictions:
    """Predictions of one tree, galaxy by galaxy.

    Attributes
    ----------
    kind
        What `values` are.
    ids
        (n,) as the survey names galaxies.
    ra, dec
        (n,) degrees; NaN where the table has none.
    values
        (n, draws, n_answers) float32 in the order of ``tree.answers``: concentrations above 0, or fractions with one
        draw. NaN where the publishers held a question to be irrelevant.
    problems
        (id, what is wrong) of rows that are left out: text that is no list of numbers, draws that differ in number.
    """

    kind: Kind
    ids: tuple[str, ...]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    values: NDArray[np.float32]
    problems: tuple[tuple[str, str], ...] = ()

    def fractions(self, tree: DecisionTree) -> NDArray[np.float64]:
        """(n, n_answers) expected vote fractions: the mean over draws of α / Σα within each question; NaN stays."""
        values = self.values.astype(np.float64)
        if self.kind == "fraction":
            return values.mean(axis=1)
        shares = np.empty_like(values)
        for part in tree.slices:
            shares[..., part] = values[..., part] / values[..., part].sum(axis=-1, keepdims=True)
        return shares.mean(axis=1)


def read_published(survey: Survey, path: Path) -> PublishedPredictions:
    """A whole catalogue of published predictions; see `published_parts` for one that memory does not hold.

    Parameters
    ----------
    survey
        Says what the id, the positions, the questions and their answers are called; its tree must be the catalogue's.
    path
        A table with ``{question}_{answer}_concentration`` columns (a list of numbers a cell, as text or as a list
        type), as Galaxy Zoo DECaLS's auto_posteriors has, or with ``{question}_{answer}_fraction`` columns.

    Raises
    ------
    MissingColumns, LossyIds, DuplicateIds, CatalogError
        As their names say; no usable row is a CatalogError.
    """
    parts = list(published_parts(survey, path))
    draws = {part.values.shape[1] for part in parts if part.ids}
    if len(draws) != 1:
        raise CatalogError(
            "the published predictions cannot be read" if not draws else "the number of draws changes within the table",
            where=str(path),
            problems=[f"{name}: {what}" for part in parts for name, what in part.problems[:_SHOWN]][:_SHOWN],
            expected="in each cell a list of the same number of concentrations, or nothing",
            fix="download the table again",
        )
    used = [part for part in parts if part.ids]
    ids = tuple(name for part in used for name in part.ids)
    refuse_repeated(pl.Series(ids), "the table", f"{path}, column {survey.catalog.id!r}")
    return PublishedPredictions(
        parts[0].kind,
        ids,
        np.concatenate([part.ra for part in used]),
        np.concatenate([part.dec for part in used]),
        np.concatenate([part.values for part in used]),
        tuple(problem for part in parts for problem in part.problems),
    )


def published_parts(survey: Survey, path: Path, rows: int = _ROWS) -> Iterator[PublishedPredictions]:
    """The same, at most `rows` galaxies at a time: the file is read once, from its beginning to its end."""
    catalog, answers = survey.catalog, survey.tree.answers
    positions = [name for name in (catalog.ra, catalog.dec) if name]
    kind, places = _places([catalog.id, *positions], answers, path)
    for frame in column_batches(path, places, rows):
        ids = as_ids(frame[catalog.id], f"{path}, column {catalog.id!r}")
        columns = [_lists(frame[f"{answer}_{kind}"]) for answer in answers]
        lengths = np.stack([lists.list.len().fill_null(0).to_numpy() for lists, _ in columns], axis=1)
        draws = int(lengths.max(initial=0))
        wrong = ids.is_null().to_numpy() | np.stack([bad.to_numpy() for _, bad in columns], axis=1).any(axis=1)
        wrong |= ((lengths != 0) & (lengths != draws)).any(axis=1)
        values = np.full((len(frame), draws, len(answers)), np.nan, np.float32)
        for a, (lists, _) in enumerate(columns):
            whole = lengths[:, a] == draws
            if draws:
                values[whole, :, a] = lists.filter(pl.Series(whole)).explode().to_numpy().reshape(-1, draws)
        with np.errstate(invalid="ignore"):
            outside = (values < 0) | (values > 1 + 1e-4) if kind == "fraction" else values <= 0
        half = np.stack([_half_given(values[:, :, part]) for part in survey.tree.slices], axis=1).any(axis=1)
        wrong |= outside.any(axis=(1, 2)) | half
        where = np.full((2, len(frame)), np.nan)
        for i, name in enumerate(positions):
            where[i] = as_numbers(frame[name])[0].to_numpy()
        kept = ~wrong
        yield PublishedPredictions(
            kind,
            tuple(ids.filter(pl.Series(kept))),
            where[0, kept],
            where[1, kept],
            values[kept],
            tuple((name or "no id", _reason(kind)) for name in ids.filter(pl.Series(wrong))),
        )


def _places(own: Sequence[str], answers: Sequence[str], path: Path) -> tuple[Kind, dict[str, str]]:
    present = header(path)
    lacks: dict[Kind, list[str]] = {}
    for kind in KINDS:
        wanted = [*own, *(f"{answer}_{kind}" for answer in answers)]
        places = resolve(wanted, present)
        lacks[kind] = [name for name in wanted if name not in places]
        if not lacks[kind]:
            return kind, places
    fewest = min(lacks.values(), key=len)
    raise MissingColumns(
        f"the table lacks {len(fewest)} column(s) of published predictions",
        where=str(path),
        problems=[f"{name!r}{near_matches(name, present)}" for name in fewest],
        expected="{question}_{answer}_concentration or {question}_{answer}_fraction of every answer",
        fix="name the survey whose tree the table was made with",
    )


def _lists(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """(lists of float64, NULL where there is nothing; where the cell cannot be read)."""
    if column.dtype.is_numeric():
        numbers, unreadable = as_numbers(column)
        return numbers.reshape((-1, 1)).arr.to_list().set(numbers.is_null(), None), unreadable
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        inside = text.str.strip_chars("[]").str.replace_all(r"\s", "")
        bare = ~text.str.starts_with("[")  # a single number
        parts = inside.set(inside == "", None).str.split(",")
        lists = parts.list.eval(pl.element().cast(pl.Float64, strict=False))
        unreadable = lists.list.eval(pl.element().is_null()).list.any() | (~bare & ~text.str.ends_with("]"))
    else:
        lists = column.cast(pl.List(pl.Float64))
        lists = lists.set(lists.list.len() == 0, None)
        unreadable = lists.list.eval(pl.element().is_null()).list.any()
    unreadable = unreadable.fill_null(value=False)
    return lists.set(unreadable, None), unreadable


def _half_given(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Rows in which some answers of a question have values and others have none."""
    missing = np.count_nonzero(np.isnan(values), axis=(1, 2))
    return np.asarray((missing > 0) & (missing < values.shape[1] * values.shape[2]))


def _reason(kind: Kind) -> str:
    if kind == "fraction":
        return "not a fraction between 0 and 1 for each answer of a question, or for none of them"
    return "not a list of as many positive concentrations as the others have, for each answer of a question or for none"
