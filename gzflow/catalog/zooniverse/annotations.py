"""The answers of one classification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gzflow.catalog.zooniverse.export import parsed
from gzflow.catalog.zooniverse.tasks import IGNORED, Meaning, TaskBook
from gzflow.catalog.zooniverse.text import plain

_CACHED = 200_000


class Given(NamedTuple):
    """What one volunteer answered to one task: texts, or None where the task was no question.

    `skipped` where there is no value at all; an empty list is a volunteer who ticked no box.
    """

    task: str
    label: str
    texts: tuple[str, ...] | None
    skipped: bool


class Ballot(NamedTuple):
    """A classification's votes, one bit an answer of the tree, and what of it is not counted: task, reason, detail."""

    votes: int
    left_out: tuple[tuple[str, str, str], ...]


def given(annotations: str) -> list[Given] | None:
    """The tasks of an ``annotations`` cell, combined tasks taken apart; None where it is not readable."""
    entries = parsed(annotations)
    return list(_flat(entries)) if isinstance(entries, list) else None


class BallotReader:
    """Annotations -> votes; the same cell is read once, for most volunteers click the same few ways."""

    def __init__(self, book: TaskBook) -> None:
        self._book = book
        self._cache: dict[tuple[int, int, str], Ballot | None] = {}

    def read(self, workflow: int, version: int, annotations: str) -> Ballot | None:
        """The votes of one classification; None where the cell is not readable."""
        key = (workflow, version, annotations)
        if key not in self._cache:
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            self._cache[key] = self._read(workflow, version, annotations)
        return self._cache[key]

    def _read(self, workflow: int, version: int, annotations: str) -> Ballot | None:
        tasks = given(annotations)
        if tasks is None:
            return None
        votes: dict[int, int] = {}
        left_out: list[tuple[str, str, str]] = []
        for task, _, texts, skipped in tasks:
            known = self._book.meaning(workflow, version, task)
            if known is None:
                left_out.append((task, "unknown-task", ""))
            elif not known.counted:
                continue  # a task that the tasks file leaves out
            elif texts is None:
                left_out.append((task, "not-a-question", ""))
            elif not texts and (skipped or not known.boxes):
                left_out.append((task, "no-answer", ""))
            else:
                self._take(task, texts, known, votes, left_out)
        return Ballot(sum(1 << answer for answer in votes.values()), tuple(left_out))

    def _take(
        self,
        task: str,
        texts: tuple[str, ...],
        known: Meaning,
        votes: dict[int, int],
        left_out: list[tuple[str, str, str]],
    ) -> None:
        """Count one task's answer; each question, and each check box, has one vote a volunteer."""
        answers = {known.answers[text] for text in texts if text in known.answers}
        strange = [(task, "unknown-answer", text) for text in texts if text not in known.answers]
        left_out += strange
        answers.discard(IGNORED)
        if known.boxes:
            if strange:
                return  # the text may be any box's: which of them were not ticked is not known
            answers = {box if box in answers else box + 1 for box in known.boxes}
        elif len(answers) > 1:
            left_out.append((task, "several-answers", ", ".join(texts)))
            return
        given = {self._book.question_of[answer]: answer for answer in answers}
        if any(votes.get(question, answer) != answer for question, answer in given.items()):
            left_out.append((task, "answered-twice", "the later answer counts"))
        votes.update(given)


def _flat(entries: list[Any]) -> Iterator[Given]:
    for entry in entries:
        if not isinstance(entry, Mapping) or "task" not in entry:
            continue
        value = entry.get("value")
        if isinstance(value, list) and any(isinstance(each, Mapping) and "task" in each for each in value):
            yield from _flat(value)
        else:
            texts = _texts(value)
            skipped = not texts and not isinstance(value, list)
            yield Given(str(entry["task"]), str(entry.get("task_label") or ""), texts, skipped)


def _texts(value: object) -> tuple[str, ...] | None:
    """Answers as plain text; empty for null, "" and []; None for marks, drawings and other values."""
    if value is None:
        return ()
    if isinstance(value, list):
        if not all(isinstance(each, (str, int)) for each in value):
            return None
        return tuple(text for each in value if (text := plain(str(each))))
    if isinstance(value, (str, int)):
        return (text,) if (text := plain(str(value))) else ()
    return None
