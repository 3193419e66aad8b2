"""A classifications export -> votes a galaxy, in one pass and bounded memory."""

from __future__ import annotations

import logging
import secrets
import time
from array import array
from collections.abc import Collection
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
from numpy.typing import NDArray

from gzflow.catalog.zooniverse.annotations import BallotReader
from gzflow.catalog.zooniverse.counted import Counted, LeftOut, tallied
from gzflow.catalog.zooniverse.export import parsed, rows, whole
from gzflow.catalog.zooniverse.subjects import Subjects
from gzflow.catalog.zooniverse.tasks import TaskBook

log = logging.getLogger(__name__)

Choice = Literal["first", "last", "all"]
"""Which counts of several classifications of one subject by one person in one workflow."""
LoggedOut = Literal["by-name", "each", "drop"]
"""People without an account: one person a name (Zooniverse makes it from the address), each by itself, or none."""
EVERY_S = 5.0
_COLUMNS = (
    "classification_id",
    "user_name",
    "user_id",
    "workflow_id",
    "workflow_version",
    "created_at",
    "annotations",
    "subject_data",
    "subject_ids",
)
_UNKNOWN_TIME = -1


def count_classifications(
    path: Path,
    book: TaskBook,
    left_out: TextIO,
    *,
    keep: Choice = "first",
    logged_out: LoggedOut = "by-name",
    subjects_export: Path | None = None,
    metadata: Collection[str] = (),
) -> Counted:
    """Count an export's votes.

    A person's name or number is replaced by a keyed hash as it is read, only to find classifications of the same
    subject by the same person; the key is drawn anew for each run and forgotten with it. Addresses and the metadata of
    sessions are not read.

    Parameters
    ----------
    book
        What the tasks mean.
    left_out
        Gets a CSV line for everything that is not counted.
    keep, logged_out
        See `Choice` and `LoggedOut`.
    subjects_export
        Where the subjects' metadata stand, for an export whose ``subject_data`` lack the galaxies' names.
    metadata
        Entries of the subjects' metadata to keep.

    Returns
    -------
    Counted
        On the way a classification takes 52 bytes (trees of up to 64 answers), and twice as much at the end, while
        those of the same person are looked for.
    """
    pile = _Pile(book)
    lost = LeftOut(left_out)
    subjects = Subjects(book.ids, metadata)
    if subjects_export is not None:
        subjects.read(subjects_export)
    said = time.monotonic()
    for piece in rows(path, _COLUMNS, lambda detail: lost.row(("", "", "", ""), "unreadable", detail)):
        for row in piece:
            pile.add(row, subjects, lost, logged_out)
        if time.monotonic() - said >= EVERY_S:
            said = time.monotonic()
            log.info("%s classifications read", f"{pile.n + sum(lost.rows.values()):,}")
    n_read = pile.n + sum(lost.rows.values())
    kept = pile.kept(keep, lost)
    galaxy = np.frombuffer(pile.galaxy, np.int32)[kept]
    votes = tallied(galaxy, pile.masks()[kept], len(subjects.ids), book.n_answers)
    classifications = np.bincount(galaxy, minlength=len(subjects.ids))
    return Counted.of(subjects, votes, classifications, lost, n_read=n_read, n_counted=len(kept))


class _Pile:
    """Classifications that have votes, as columns of numbers."""

    def __init__(self, book: TaskBook) -> None:
        self._book = book
        self._reader = BallotReader(book)
        self._key = secrets.token_bytes(16)
        self._words = max(1, -(-book.n_answers // 64))
        self._id, self._time, self._subject = array("q"), array("q"), array("q")
        self._chance, self._votes = array("Q"), array("Q")  # a chance to vote: person, subject and workflow, hashed
        self._workflow, self._version = array("i"), array("i")
        self.galaxy = array("i")
        self._known: dict[tuple[int, int], bool] = {}

    @property
    def n(self) -> int:
        """Classifications on the pile."""
        return len(self._id)

    def masks(self) -> NDArray[np.uint64]:
        """(n, words): one bit an answer."""
        return np.frombuffer(self._votes, np.uint64).reshape(-1, self._words)

    def add(self, row: tuple[str, ...], subjects: Subjects, lost: LeftOut, logged_out: LoggedOut) -> None:
        """Put one row on the pile, or among what is left out."""
        number, name, user, workflow, version, created, annotations, data, subject = row
        where = (number, subject, workflow, version)
        own, flow, major = whole(number), whole(workflow, 31), whole(version.partition(".")[0], 31)
        if own is None or flow is None or major is None:
            lost.row(where, "unreadable", "classification_id, workflow_id and workflow_version must be numbers")
            return
        place = (flow, major)
        if place not in self._known:
            self._known[place] = self._book.knows(*place)
        if not self._known[place]:
            lost.row(where, "other-workflow", "the tasks file does not describe this workflow and version")
            return
        if not user and logged_out == "drop":
            lost.row(where, "logged-out")
            return
        shown = whole(subject)
        if shown is None:
            several = len(subject.replace(";", " ").replace(",", " ").split()) > 1
            reason = "several-subjects" if several else "unreadable"
            lost.row(where, reason, "one subject a classification is counted")
            return
        galaxy = subjects.known(shown)
        if galaxy is None:
            document = parsed(data)
            galaxy = subjects.enter(shown, document.get(subject) if isinstance(document, dict) else None)
        if isinstance(galaxy, str):
            lost.row(where, galaxy, f"none of {', '.join(self._book.ids)}" if galaxy == "no-galaxy-id" else "")
            return
        ballot = self._reader.read(*place, annotations)
        if ballot is None:
            lost.row(where, "unreadable", "annotations are no JSON list")
            return
        if not ballot.votes:
            detail = "; ".join(f"{task}: {reason} {text}".strip() for task, reason, text in ballot.left_out)
            lost.row(where, "no-votes", detail)
            return
        for task, reason, detail in ballot.left_out:
            lost.answer(where, task, reason, detail)
        self._id.append(own)
        self._time.append(_seconds(created))
        self._subject.append(shown)
        self._chance.append(self._hashed(user, name, number, logged_out, f"{subject} {workflow}"))
        self._workflow.append(place[0])
        self._version.append(place[1])
        self.galaxy.append(galaxy)
        self._votes.extend(ballot.votes >> 64 * word & 0xFFFF_FFFF_FFFF_FFFF for word in range(self._words))

    def kept(self, keep: Choice, lost: LeftOut) -> NDArray[np.intp]:
        """Rows that count: each classification once, and of one person's several the chosen one."""
        ids = np.frombuffer(self._id, np.int64)
        # Exports of a project and of its workflows overlap: put together, they hold a classification twice.
        _, first = np.unique(ids, return_index=True)
        self._list(np.setdiff1d(np.arange(self.n), first), "repeated-row", lost)
        if keep == "all" or not self.n:
            return np.sort(first)
        chance = np.frombuffer(self._chance, np.uint64)[first]
        order = np.lexsort((ids[first], np.frombuffer(self._time, np.int64)[first], chance))
        chance = chance[order]
        same = chance[1:] == chance[:-1]
        chosen = np.concatenate(([True], ~same)) if keep == "first" else np.concatenate((~same, [True]))
        self._list(first[order[~chosen]], "same-person-again", lost)
        return np.sort(first[order[chosen]])

    def _list(self, rows_left_out: NDArray[np.intp], reason: str, lost: LeftOut) -> None:
        for at in rows_left_out.tolist():
            lost.row((self._id[at], self._subject[at], self._workflow[at], self._version[at]), reason)

    def _hashed(self, user: str, name: str, number: str, logged_out: LoggedOut, place: str) -> int:
        if user:
            who = f"user {user}"
        else:
            who = f"name {name}" if logged_out == "by-name" and name else f"classification {number}"
        return int.from_bytes(blake2b(f"{place} {who}".encode(), key=self._key, digest_size=8).digest(), "little")


def _seconds(created: str) -> int:
    """Seconds since 1970 of "2025-01-29 16:58:44 UTC"; unknown sorts first."""
    try:
        return int(datetime.fromisoformat(created.removesuffix(" UTC")).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return _UNKNOWN_TIME
