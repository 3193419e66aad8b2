"""What an export holds: the tasks of its workflows, as a first tasks file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gzflow.catalog.zooniverse.annotations import given
from gzflow.catalog.zooniverse.export import parsed, rows, whole
from gzflow.catalog.zooniverse.tasks import IDS, Task, TaskBook, draft, proposed
from gzflow.catalog.zooniverse.text import plain
from gzflow.durable import write_bytes
from gzflow.errors import CatalogError
from gzflow.tree import DecisionTree

_SUBJECTS = 1000
_MOST_TEXTS = 60
"""More than that are no answers of a question but what volunteers wrote."""
_REMEMBERED = 1_000_000


@dataclass(frozen=True)
class Discovered:
    """Tasks that an export holds, with the questions and answers that they are named after.

    Attributes
    ----------
    doubtful
        Tasks whose question, or one of whose answers, has another name than in the survey.
    keys
        Keys of the subjects' metadata.
    """

    tasks: tuple[Task, ...]
    doubtful: tuple[Task, ...]
    keys: tuple[str, ...]
    tree: DecisionTree

    def book(self, export: Path, draft_file: Path) -> TaskBook:
        """The tasks, when nothing about them is in doubt.

        Raises
        ------
        CatalogError
            Something is; a tasks file to complete then lies at `draft_file`, unless there is one already.
        """
        named = any(key in IDS for key in self.keys)
        if self.tasks and not self.doubtful and named:
            return TaskBook(self.tasks, self.tree)
        problems = [
            f"workflow {task.workflow}, task {task.task} ({task.label or 'no label'}): "
            + (f"which answer of {task.question} is each text?" if task.question else "which question is it?")
            for task in self.doubtful
        ]
        if not named:
            problems.append(f"the subjects' metadata have no {' or '.join(IDS)}: {', '.join(self.keys) or 'none'}")
        if not draft_file.exists():
            write_bytes(draft_file, draft(self.tasks, self.tree, self.keys).encode())
        raise CatalogError(
            "the export's tasks are not named as the survey's questions, and which is which is not guessed",
            where=str(export),
            problems=problems[:20],
            expected="a tasks file that says which task is which question, and which text is which answer",
            fix=f"complete {draft_file}, which names all of them, and give it with --tasks",
        )


def discovered(path: Path, tree: DecisionTree) -> Discovered:
    """Read a classifications export for its tasks, texts, versions and metadata keys alone."""
    seen: set[int] = set()
    texts: dict[tuple[int, str, str], dict[str, None]] = {}
    versions: dict[tuple[int, str, str], set[int]] = {}
    keys: dict[str, None] = {}
    subjects: set[str] = set()
    columns = ("workflow_id", "workflow_version", "annotations", "subject_ids", "subject_data")
    for piece in rows(path, columns, lambda _: None):
        for workflow, version, cell, subject, data in piece:
            if len(subjects) < _SUBJECTS and subject not in subjects:
                subjects.add(subject)
                keys |= dict.fromkeys(key for entry in _entries(data) for key in entry if key != "retired")
            if len(seen) >= _REMEMBERED:
                seen.clear()
            mark = hash((workflow, version, cell))
            flow, major = whole(workflow, 31), whole(version.partition(".")[0], 31)
            if mark in seen or flow is None:
                continue
            seen.add(mark)
            for task, label, answers, _ in given(cell) or ():
                place = (flow, task, plain(label))
                found = texts.setdefault(place, {})
                if len(found) <= _MOST_TEXTS:
                    found |= dict.fromkeys(answers or ())
                if major is not None:
                    versions.setdefault(place, set()).add(major)
    tasks, doubtful = [], []
    for (workflow_id, task, label), found in sorted(texts.items()):
        bare = Task(
            workflow=workflow_id,
            versions=tuple(sorted(versions.get((workflow_id, task, label), ()))),
            task=task,
            label=label,
        )
        written = len(found) > _MOST_TEXTS
        if written:
            bare = bare.model_copy(update={"label": f"{label} (free text)".strip()})
        named, sure = proposed(bare, tree, () if written else found)
        tasks.append(named)
        if not sure:
            doubtful.append(named)
    return Discovered(tuple(tasks), tuple(doubtful), tuple(keys), tree)


def _entries(subject_data: str) -> list[Mapping[str, object]]:
    document = parsed(subject_data)
    return [each for each in document.values() if isinstance(each, Mapping)] if isinstance(document, Mapping) else []
