"""Votes that were counted, and a list of all that was not."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TextIO

import numpy as np
from numpy.typing import NDArray

from gzflow.catalog.zooniverse.subjects import Subjects

COLUMNS = ("classification_id", "subject_id", "workflow_id", "workflow_version", "task", "reason", "detail")


@dataclass(frozen=True)
class Counted:
    """Votes a galaxy.

    Attributes
    ----------
    ids
        Galaxies.
    votes
        (n_galaxies, n_answers) int64, in the order of the survey's ``tree.answers``: of a check box those who ticked it
        and those who saw it and did not (0 from reductions, which do not say).
    classifications
        (n_galaxies,) int64: how many were counted; for reductions the most votes of any question.
    metadata
        For each galaxy what its subject says about the columns that were asked for.
    n_read, n_counted
        Rows of the export. ``n_read == n_counted + sum(rows_left_out.values())``.
    rows_left_out
        Rows without any vote in `votes`, by reason.
    answers_left_out
        Single answers of rows that have other votes, by reason.
    """

    ids: Sequence[str]
    votes: NDArray[np.int64]
    classifications: NDArray[np.int64]
    metadata: Sequence[Mapping[str, Any]]
    n_read: int
    n_counted: int
    rows_left_out: Mapping[str, int]
    answers_left_out: Mapping[str, int]

    @classmethod
    def of(
        cls,
        subjects: Subjects,
        votes: NDArray[np.int64],
        classifications: NDArray[np.int64],
        lost: LeftOut,
        *,
        n_read: int,
        n_counted: int,
    ) -> Self:
        """The galaxies that somebody classified, of arrays with a row for each of the subjects' galaxies."""
        seen = np.flatnonzero(classifications)
        return cls(
            ids=[subjects.ids[g] for g in seen],
            votes=votes[seen],
            classifications=classifications[seen],
            metadata=[subjects.metadata[g] for g in seen],
            n_read=n_read,
            n_counted=n_counted,
            rows_left_out=dict(lost.rows),
            answers_left_out=dict(lost.answers),
        )


@dataclass
class LeftOut:
    """Writes a line for everything that is not counted, and keeps the numbers by reason. Nothing about people."""

    stream: TextIO
    rows: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._writer = csv.writer(self.stream, lineterminator="\n")
        self._writer.writerow(COLUMNS)

    def row(self, where: Sequence[object], reason: str, detail: str = "") -> None:
        """A whole row; `where` is classification, subject, workflow and version."""
        self.rows[reason] += 1
        self._writer.writerow([*where, "", reason, detail])

    def answer(self, where: Sequence[object], task: str, reason: str, detail: str = "") -> None:
        """One answer of a row."""
        self.answers[reason] += 1
        self._writer.writerow([*where, task, reason, detail])


def tallied(galaxy: NDArray[Any], masks: NDArray[np.uint64], n_galaxies: int, n_answers: int) -> NDArray[np.int64]:
    """Votes (n_galaxies, n_answers) of ballots: (n,) galaxy numbers and (n, words) bits, one an answer."""
    votes = np.zeros((n_galaxies, n_answers), np.int64)
    for answer in range(n_answers):
        word, bit = divmod(answer, 64)
        given = (masks[:, word] >> np.uint64(bit)) & np.uint64(1) != 0
        votes[:, answer] = np.bincount(galaxy[given], minlength=n_galaxies)
    return votes
