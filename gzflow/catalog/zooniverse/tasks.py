"""Which task of a Zooniverse workflow is which question, and which text is which answer: a small TOML."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from gzflow.catalog.columns import near_matches
from gzflow.catalog.zooniverse.text import plain, slug
from gzflow.errors import CatalogError
from gzflow.tree import DecisionTree

IDS = ("#gzflow_id", "!gzflow_id", "gzflow_id")
"""Keys of a subject's metadata that name the galaxy, where the tasks file names none."""
IGNORED = -1
"""An answer that is known and deliberately not counted."""


class Task(BaseModel):
    """One ``[[task]]``: a task of a workflow as some of its versions showed it.

    Attributes
    ----------
    versions
        Major versions (28 of "28.30"); empty is all of them. A new major version may have other answers.
    label
        What the volunteers were asked; for people alone.
    question
        Of the survey; empty where the task is deliberately not counted.
    answers
        From a text of the task to an answer of the question; an empty one is deliberately not counted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workflow: int
    versions: tuple[int, ...] = ()
    task: str
    label: str = ""
    question: str = ""
    answers: Mapping[str, str] = {}


class Meaning(NamedTuple):
    """What a task's texts say.

    Attributes
    ----------
    answers
        From plain text to the answer's number in the parted tree (of a check box its "yes"), or `IGNORED`; empty for a
        task that is not counted.
    boxes
        Of check boxes the "yes" of each, the "no" being the next; empty for a question with one answer.
    """

    answers: Mapping[str, int]
    boxes: tuple[int, ...] = ()

    @property
    def counted(self) -> bool:
        """Whether the task is a question of the survey."""
        return bool(self.answers or self.boxes)


class TaskBook:
    """Tasks, ready to look up, checked against a survey's tree.

    Parameters
    ----------
    tree
        As volunteers saw it: check boxes not parted. Answers are numbered as in its parted form.
    ids
        Keys of the subjects' metadata that name the galaxy; the first that a subject has decides.

    Raises
    ------
    CatalogError
        Unknown questions and answers, tasks and texts that stand twice: all at once.
    """

    def __init__(self, tasks: Iterable[Task], tree: DecisionTree, ids: tuple[str, ...] = IDS, where: str = "") -> None:
        self.tasks = tuple(tasks)
        self.ids = ids
        self.n_answers = len(tree.parted.answers)
        self.question_of: list[int] = tree.parted.question_of_answer.tolist()
        self._meanings: dict[tuple[int, int | None, str], Meaning] = {}
        numbers = {column: number for number, column in enumerate(tree.parted.answers)}
        problems: list[str] = []
        for task in self.tasks:
            problems += self._enter(task, tree, numbers)
        if problems:
            raise CatalogError(
                "the tasks file does not fit the survey",
                where=where or None,
                problems=problems,
                expected="questions and answers of the survey's tree (`gzflow survey tree`)",
                fix="correct these entries; an empty question or answer is left uncounted",
            )

    def knows(self, workflow: int, version: int | None) -> bool:
        """Whether any task of that version of the workflow is counted."""
        return any(
            task.question
            and task.workflow == workflow
            and (version is None or not task.versions or version in task.versions)
            for task in self.tasks
        )

    def meaning(self, workflow: int, version: int | None, task: str) -> Meaning | None:
        """What a task's texts say; None for a task that nobody described.

        Without a version (reductions have none) every version's texts count.
        """
        for key in ((workflow, version, task), (workflow, None, task)):
            if key in self._meanings:
                return self._meanings[key]
        if version is not None:
            return None
        merged: dict[str, int] = {}
        found = [meaning for (w, _, t), meaning in self._meanings.items() if (w, t) == (workflow, task)]
        for texts, _ in found:
            if any(merged.get(text, answer) != answer for text, answer in texts.items()):
                raise CatalogError(
                    f"task {task} of workflow {workflow} means different things in different versions",
                    expected="one meaning: reductions do not say which version a volunteer saw",
                    fix="reduce each version by itself, with a tasks file of that version",
                )
            merged |= texts
        return Meaning(merged, next((boxes for _, boxes in found if boxes), ())) if found else None

    def _enter(self, task: Task, tree: DecisionTree, numbers: Mapping[str, int]) -> list[str]:
        name = f"workflow {task.workflow}, task {task.task}"
        question = next((each for each in tree.questions if each.name == task.question), None)
        if task.question and question is None:
            return [
                f"{name}: no question {task.question!r}{near_matches(task.question, [q.name for q in tree.questions])}"
            ]
        problems: list[str] = []
        texts: dict[str, int] = {}
        given = [numbers[column] for column in question.given] if question else []
        for text, answer in task.answers.items():
            if question is not None and answer and answer not in question.answers:
                problems.append(
                    f"{name}, {text!r}: question {question.name!r} has no answer {answer!r}"
                    f"{near_matches(answer, question.answers)}"
                )
                continue
            number = given[question.answers.index(answer)] if question and answer else IGNORED
            if texts.setdefault(plain(text), number) != number:
                problems.append(f"{name}: the text {text!r} stands for two answers")
        for version in task.versions or (None,):
            key = (task.workflow, version, task.task)
            if key in self._meanings:
                problems.append(f"{name}: described twice" + (f" for version {version}" if version else ""))
            boxes = tuple(given) if question is not None and question.multiple_choice else ()
            self._meanings[key] = Meaning(texts if question is not None else {}, boxes)
        return problems


def read_tasks(path: Path, tree: DecisionTree) -> TaskBook:
    """A tasks file.

    Raises
    ------
    CatalogError
        All that is wrong with it.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8-sig"))
        ids = (str(document.pop("id")),) if "id" in document else IDS
        tasks = [Task.model_validate(entry) for entry in document.pop("task", [])]
        problems = [f"unknown key {key!r}" for key in document]
    except FileNotFoundError as error:
        raise CatalogError("there is no such tasks file", where=str(path), fix="check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError) as error:
        problems, tasks, ids = [str(error)], [], IDS
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors()]
        tasks, ids = [], IDS
    if problems or not tasks:
        raise CatalogError(
            "the tasks file cannot be read",
            where=str(path),
            problems=problems or ["it has no [[task]]"],
            expected="id, and [[task]] entries with workflow, versions, task, question and answers",
            fix="run the command without --tasks: it writes a first one",
        )
    return TaskBook(tasks, tree, ids, str(path))


def proposed(task: Task, tree: DecisionTree, texts: Iterable[str]) -> tuple[Task, bool]:
    """The task with the question and answers that it is named after, and whether all of that is beyond doubt.

    It is when the label or the task's key is the question's name and each text an answer's: no more is guessed.
    """
    names = {slug(question.name): question for question in tree.questions}
    question = names.get(slug(task.label)) or names.get(slug(task.task))
    answers = {slug(answer): answer for answer in question.answers} if question else {}
    found = {text: answers.get(slug(text), "") for text in texts}
    sure = question is not None and all(found.values())
    return task.model_copy(update={"question": question.name if question else "", "answers": found}), sure


def draft(tasks: Iterable[Task], tree: DecisionTree, ids: Iterable[str]) -> str:
    """A tasks file to complete by hand: what an export holds, and the survey's questions to choose from."""
    lines = [
        "# Which task is which question, and which text is which answer. Complete the empty ones; what stays empty is",
        "# not counted. The survey's questions:",
        *(f"#   {sentence}" for sentence in _questions(tree)),
        "",
        "# The key of the subjects' metadata that names the galaxy. Seen:",
        *(f"#   {name}" for name in ids),
        f"id = {_quoted(IDS[0])}",
    ]
    for task in tasks:
        lines += [
            "",
            "[[task]]",
            f"workflow = {task.workflow}",
            f"versions = {list(task.versions)}",
            f"task = {_quoted(task.task)}",
            f"label = {_quoted(task.label)}",
            f"question = {_quoted(task.question)}",
            "[task.answers]",
            *(f"{_quoted(text)} = {_quoted(answer)}" for text, answer in task.answers.items()),
        ]
    return "\n".join(lines) + "\n"


def _questions(tree: DecisionTree) -> list[str]:
    return [
        f"{question.name}: {', '.join(question.answers)}{' (check boxes)' if question.multiple_choice else ''}"
        for question in tree.questions
    ]


def _quoted(value: Any) -> str:
    return json.dumps(str(value), ensure_ascii=False)  # TOML's basic strings are JSON's
