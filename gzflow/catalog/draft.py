"""What a table's columns tell of the survey behind it: shipped surveys, ids, positions, images, votes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from gzflow.catalog.assemble import sql_columns
from gzflow.catalog.columns import as_numbers, column_batches, header, resolve
from gzflow.catalog.recognition import predicted, recognised
from gzflow.surveys import load_survey

ROWS = 500
"""First rows that are looked at."""

# The best first; compared without case.
_IDS = (
    "id_str", "iauname", "zooniverse_id", "subject_id", "objid", "dr7objid", "object_id", "source_id", "galaxy_id",
    "galaxyid", "dr8objid", "obj_id", "id", "name",
)  # fmt: skip
_POSITIONS = (("ra", "dec"), ("ra_deg", "dec_deg"), ("raj2000", "dej2000"), ("right_ascension", "declination"))
_PICTURE = r"(?i)\.(png|jpe?g|tiff?|fits?|fits\.(gz|fz))$"
# How tables call the number of all answers to a question, and what stands beside the votes of an answer.
_TOTALS = ("_total-votes", "_total_votes", "_total_count", "_total", "_count")
_BESIDE = (
    "_weighted_fraction", "_weighted_frac", "_debiased_fraction", "_debiased", "_weight", "_flag", "_best_fraction",
    "_lower_limit", "_upper_limit", "_concentration",
)  # fmt: skip
_FRACTIONS = ("_fraction", "_frac")
_FRACTIONAL = r"^[+-]?\d*\.\d+([eE][+-]?\d+)?$"


@dataclass(frozen=True)
class QuestionDraft:
    """A question that columns seem to hold the votes of.

    Attributes
    ----------
    name, answers
        In gzflow's spelling.
    task, columns
        The parts of the table's column names that they came from.
    asked_after
        Answers that lead to it; columns cannot say that for sure.
    likely
        ``question=answer`` entries whose votes equal this question's total in every row seen.
    """

    name: str
    answers: tuple[str, ...]
    task: str
    columns: tuple[str, ...]
    asked_after: tuple[str, ...] = ()
    likely: tuple[str, ...] = ()

    @property
    def renamed(self) -> bool:
        """Whether gzflow's names are not the table's."""
        return (self.name, self.answers) != (self.task, self.columns)


@dataclass(frozen=True)
class SurveyDraft:
    """What is known so far; candidates stand best first, and none of them was checked by anybody.

    Attributes
    ----------
    table
        Name of the file.
    name
        For the survey.
    extends
        Shipped surveys that have all their columns in this table.
    predictions
        Shipped surveys for all of whose answers this table has concentrations or fractions, but no votes.
    unfiltered
        Whether the table lacks columns that the first of these filters by.
    ids, positions, images
        Columns that look like ids (no value twice in the rows seen), like right ascension and declination in degrees,
        and like file names.
    form, suffix, total
        Whether votes stand as counts or fractions; what follows an answer's and a question's name in their columns.
    questions
        Of one form and one total.
    notes
        What was seen and left out, and why.
    """

    table: str
    name: str
    extends: tuple[str, ...] = ()
    predictions: tuple[str, ...] = ()
    unfiltered: bool = False
    ids: tuple[str, ...] = ()
    positions: tuple[tuple[str, str], ...] = ()
    images: tuple[str, ...] = ()
    form: Literal["count", "fraction"] = "count"
    suffix: str = ""
    total: str | None = None
    questions: tuple[QuestionDraft, ...] = ()
    notes: tuple[str, ...] = ()
    title: str = ""
    citation: str = ""


def draft_survey(path: Path) -> SurveyDraft:
    """Look at a table's header and first rows.

    Raises
    ------
    CatalogError
        No such file, another format, or not a table.
    """
    names = header(path)
    frame = next(column_batches(path, {name: name for name in names}, ROWS)).head(ROWS)
    draft = SurveyDraft(path.name, slug(path.name.split(".")[0]) or "survey", recognised(names))
    if draft.extends:
        return replace(draft, name=f"my-{draft.extends[0]}"[:40])
    numbers = {name: values for name in names if (values := _numbers(frame[name])) is not None}
    draft = replace(
        draft,
        name=draft.name[:40].strip("-"),
        ids=_ids(frame),
        positions=_positions(numbers),
        images=tuple(name for name in names if _is_picture(frame[name])),
    )
    if surveys := predicted(names):
        filtered_by = set(sql_columns(load_survey(surveys[0]).catalog.where))
        lacks = len(resolve(filtered_by, names)) < len(filtered_by)
        return replace(draft, predictions=surveys, unfiltered=lacks)
    taken = {*draft.ids, *draft.images, *(name for pair in draft.positions for name in pair)}
    return _with_votes(draft, {name: values for name, values in numbers.items() if name not in taken})


def slug(text: str) -> str:
    """Lower case words joined by ``-``."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _numbers(column: pl.Series) -> pl.Series | None:
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean)):
        return None
    values, unreadable = as_numbers(column)
    return None if unreadable.any() or values.is_null().all() else values


def _ids(frame: pl.DataFrame) -> tuple[str, ...]:
    found = []
    for name in frame.columns:
        column = frame[name]
        plain = column.dtype.is_integer() or column.dtype == pl.String
        known = name.strip().lower() in _IDS or name.strip().lower().endswith(("_id", "objid"))
        fractional = column.dtype == pl.String and bool(column.str.contains(_FRACTIONAL).any())
        if known and plain and not fractional and not column.has_nulls() and column.n_unique() == len(column):
            found.append(name)
    rank = {name: i for i, name in enumerate(_IDS)}
    return tuple(sorted(found, key=lambda name: rank.get(name.strip().lower(), len(rank))))


def _positions(numbers: Mapping[str, pl.Series]) -> tuple[tuple[str, str], ...]:
    found = []
    for pair in _POSITIONS:
        places = resolve(pair, numbers)
        if len(places) == 2:
            ra, dec = (numbers[places[name]] for name in pair)
            if ra.is_between(-180, 360).all() and dec.is_between(-90, 90).all():
                found.append((places[pair[0]], places[pair[1]]))
    return tuple(found)


def _is_picture(column: pl.Series) -> bool:
    if column.dtype != pl.String or column.null_count() == len(column):
        return False
    return bool(column.drop_nulls().str.contains(_PICTURE).all())


def _with_votes(draft: SurveyDraft, numbers: Mapping[str, pl.Series]) -> SurveyDraft:
    groups = _with_totals(numbers)
    counted = tuple(f"{task}_" for _, task, _ in groups)
    groups += _without_totals({name: values for name, values in numbers.items() if not name.startswith(counted)})
    if not groups:
        return replace(draft, notes=(*draft.notes, "no columns of votes were recognised"))
    # One pattern serves all questions of a survey: the one of most of them.
    chosen = Counter(key for key, _, _ in groups).most_common(1)[0][0]
    others = sorted({task for key, task, _ in groups if key != chosen})
    form, suffix, total = chosen
    questions = []
    for _, task, columns in (group for group in groups if group[0] == chosen):
        questions.append(QuestionDraft(slug(task), tuple(slug(column) for column in columns), task, tuple(columns)))
    notes = (f"other columns look like votes too, in another form: {', '.join(others)}",) if others else ()
    draft = replace(
        draft,
        form="count" if form == "count" else "fraction",
        suffix=suffix,
        total=total or None,
        questions=tuple(questions),
        notes=(*draft.notes, *notes),
    )
    return replace(draft, questions=_likely_parents(draft, numbers))


_Group = tuple[tuple[str, str, str], str, list[str]]
"""((form, what follows an answer, what follows the total), question, answers) as the table writes them."""


def _with_totals(numbers: Mapping[str, pl.Series]) -> list[_Group]:
    groups: list[_Group] = []
    for name in numbers:
        ending = next((ending for ending in _TOTALS if name.endswith(ending)), None)
        if ending is None:
            continue
        task = name.removesuffix(ending)
        rest = [
            c[len(task) + 1 :] for c in numbers if c.startswith(f"{task}_") and c != name and not c.endswith(_BESIDE)
        ]
        rest = [part for part in rest if f"_{part}" not in _TOTALS]
        fractions = next((f for f in _FRACTIONS if any(part.endswith(f) for part in rest)), "")
        counted = [part for part in rest if not part.endswith((*_FRACTIONS, "_count"))]
        for form, suffix, answers in (
            ("count", "", counted),
            ("count", "_count", [part.removesuffix("_count") for part in rest if part.endswith("_count")]),
            ("fraction", fractions, [p.removesuffix(fractions) for p in rest if fractions and p.endswith(fractions)]),
        ):
            votes = [numbers[f"{task}_{answer}{suffix}"].fill_null(0) for answer in answers]
            if len(votes) > 1 and _adds_up(votes, numbers[name].fill_null(0), form):
                groups.append(((form, suffix, ending), task, answers))
                break
    return groups


def _adds_up(votes: Sequence[pl.Series], total: pl.Series, form: str) -> bool:
    """Whether most rows' answers add up to their total, or their fractions to 1."""
    found = np.sum([column.to_numpy() for column in votes], axis=0)
    expected = total.to_numpy() if form == "count" else (total.to_numpy() > 0).astype(float)
    return bool(np.mean(np.abs(found - expected) < (0.5 if form == "count" else 0.05)) > 0.5)


def _without_totals(numbers: Mapping[str, pl.Series]) -> list[_Group]:
    groups: dict[tuple[str, str], list[str]] = {}
    for name, values in numbers.items():
        if name.endswith((*_BESIDE, *_FRACTIONS)):
            continue
        whole = values.drop_nulls()
        suffix = "_count" if name.endswith("_count") else ""
        task, _, answer = name.removesuffix(suffix).rpartition("_")
        if task and answer and bool(((whole >= 0) & (whole == whole.round())).all()):
            groups.setdefault((task, suffix), []).append(answer)
    return [(("count", suffix, ""), task, answers) for (task, suffix), answers in groups.items() if len(answers) > 1]


def _likely_parents(draft: SurveyDraft, numbers: Mapping[str, pl.Series]) -> tuple[QuestionDraft, ...]:
    votes: dict[str, pl.Series] = {}
    totals: dict[str, pl.Series] = {}
    for question in draft.questions:
        own = [numbers[f"{question.task}_{column}{draft.suffix}"].fill_null(0) for column in question.columns]
        if draft.form == "fraction":
            total = numbers[f"{question.task}{draft.total}"].fill_null(0)
            own = [(column * total).round() for column in own]
        totals[question.name] = sum(own[1:], start=own[0])
        votes |= {f"{question.name}={a}": column for a, column in zip(question.answers, own, strict=True)}
    found = []
    for question in draft.questions:
        total = totals[question.name]
        others = {way: column for way, column in votes.items() if not way.startswith(f"{question.name}=")}
        # Few different totals would agree with something by chance.
        alike = [way for way, column in others.items() if total.n_unique() > 2 and bool((column == total).all())]
        found.append(replace(question, likely=tuple(alike)))
    return tuple(found)
