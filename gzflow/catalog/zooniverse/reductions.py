"""Reductions of panoptes-aggregation (``question_reducer_*.csv``) -> votes a galaxy."""

from __future__ import annotations

import ast
import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TextIO

import numpy as np

from gzflow.catalog.columns import header
from gzflow.catalog.zooniverse.counted import Counted, LeftOut
from gzflow.catalog.zooniverse.export import rows, whole
from gzflow.catalog.zooniverse.subjects import Subjects
from gzflow.catalog.zooniverse.tasks import IGNORED, TaskBook
from gzflow.catalog.zooniverse.text import slug
from gzflow.errors import CatalogError

_REDUCER = "question_reducer"
_NO_PERSON = {"", "nan", "none"}
_NOT_AN_ANSWER = {"aggregation_version"}


def count_reductions(
    path: Path, book: TaskBook, subjects_export: Path | None, left_out: TextIO, *, metadata: Collection[str] = ()
) -> Counted:
    """Count the votes that somebody else's aggregation has counted; one row is a subject and a task.

    Which of a person's several classifications counts was decided there, and so were the versions of the workflow.

    Parameters
    ----------
    subjects_export
        Where the subjects' metadata stand: reductions know subjects alone.
    left_out
        Gets a CSV line for everything that is not counted.

    Raises
    ------
    CatalogError
        No subjects export; no columns of answers.
    """
    if subjects_export is None:
        raise CatalogError(
            "reductions know subjects, not galaxies",
            where=str(path),
            expected="the project's subjects export too: its metadata name the galaxies",
            fix="give it with --subjects",
        )
    lost = LeftOut(left_out)
    subjects = Subjects(book.ids, metadata)
    subjects.read(subjects_export)
    votes = np.zeros((len(subjects.ids), book.n_answers), np.int64)
    n_read = n_counted = 0
    seen: set[tuple[str, str, str]] = set()
    answers = _answer_columns(path)
    bad: list[str] = []
    columns = ("subject_id", "workflow_id", "task", "reducer", *answers)
    for piece in rows(path, columns, bad.append):
        for subject, workflow, task, reducer, *cells in piece:
            n_read += 1
            where = ("", subject, workflow, "")
            number, flow = whole(subject), whole(workflow)
            galaxy = subjects.known(number) if number is not None else None
            meaning = book.meaning(flow, None, task) if flow is not None else None
            if reducer != _REDUCER:
                lost.row(where, "other-reducer", reducer)
            elif (subject, workflow, task) in seen:
                lost.row(where, "repeated-row", task)
            elif not isinstance(galaxy, int):
                lost.row(where, galaxy or "unknown-subject", "not in the subjects export" if galaxy is None else "")
            elif meaning is None or not meaning.counted:
                lost.row(where, "unknown-task" if meaning is None else "ignored-task", task)
            else:
                seen.add((subject, workflow, task))
                n_counted += 1
                _take(votes[galaxy], _given(answers, cells), meaning.answers, (where, task), lost)
    for detail in bad:
        lost.row(("", "", "", ""), "unreadable", detail)
    total = np.zeros((len(subjects.ids), max(book.question_of) + 1), np.int64)
    for answer, question in enumerate(book.question_of):
        total[:, question] += votes[:, answer]
    most = total.max(axis=1, initial=0)
    return Counted.of(subjects, votes, most, lost, n_read=n_read + len(bad), n_counted=n_counted)


def _answer_columns(path: Path) -> tuple[str, ...]:
    present = header(path)
    found = tuple(name for name in present if name == "data" or name.startswith("data."))
    if not found:
        raise CatalogError(
            "the reductions have no columns of answers",
            where=str(path),
            expected="columns data.<answer>, or one column data",
            fix="give question_reducer_*.csv as panoptes-aggregation wrote it",
        )
    return found


def _given(columns: tuple[str, ...], cells: list[str]) -> Iterator[tuple[str, str]]:
    """(slug, votes as written) of one row; with ``--stream`` all of them stand in one cell, as Python writes a dict."""
    if columns == ("data",):
        try:
            document = ast.literal_eval(cells[0])
        except (ValueError, SyntaxError):
            document = None
        if not isinstance(document, Mapping):
            yield "data", "unreadable"
            return
        yield from ((str(name), str(value)) for name, value in document.items())
    else:
        yield from ((column.removeprefix("data."), cell) for column, cell in zip(columns, cells, strict=True))


def _take(
    votes: np.ndarray[tuple[int], np.dtype[np.int64]],
    given: Iterator[tuple[str, str]],
    texts: Mapping[str, int],
    place: tuple[tuple[str, ...], str],
    lost: LeftOut,
) -> None:
    """Add one row's votes to its galaxy's."""
    answers = {slug(text): answer for text, answer in texts.items()}
    where, task = place
    for name, written in given:
        if name in _NOT_AN_ANSWER or written.strip().lower() in _NO_PERSON:
            continue
        try:
            number = float(written)
        except ValueError:
            number = math.nan
        if number == 0:
            continue
        answer = answers.get(slug(name))
        if not (number.is_integer() and number > 0):
            lost.answer(where, task, "no-count", f"{name}: {written}")
        elif answer is None:
            lost.answer(where, task, "no-answer" if slug(name) == "none" else "unknown-answer", f"{name}: {written}")
        elif answer != IGNORED:
            votes[answer] += int(number)
