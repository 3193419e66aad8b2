"""The decision tree that volunteers walk: questions, their answers, and who is asked what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gzflow.errors import SurveyError

LONGEST_NAME = 40
"""Characters of a survey's name, at most."""
BOX = ("yes", "no")
"""Answers of a question that is one check box: ticked, or not."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes
    ----------
    name
        Lower case words joined by ``-``; ``_`` separates question from answer in column names.
    answers
        At least two, in the survey's order.
    asked_after
        ``"question=answer"`` strings: the question is asked of a volunteer who gave ANY of them, and of every
        volunteer when there are none.
    multiple_choice
        Check boxes: a volunteer may tick several answers, or none. `DecisionTree.parted` is how they are learnt.
    """

    name: str
    answers: tuple[str, ...]
    asked_after: tuple[str, ...] = ()
    multiple_choice: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names of the answers, ``{question}_{answer}``."""
        return tuple(f"{self.name}_{answer}" for answer in self.answers)

    @property
    def given(self) -> tuple[str, ...]:
        """Where votes for the answers stand in the parted tree: `columns`, or of check boxes those of their "yes"."""
        if not self.multiple_choice:
            return self.columns
        return tuple(f"{_box(self.name, answer)}_{BOX[0]}" for answer in self.answers)


@dataclass(frozen=True)
class DecisionTree:
    """Questions in the survey's order; that order is the order of all vote and concentration columns.

    Parents may stand after their children (GZ2 lists them so); `topological` gives an order in which they do not.

    Raises
    ------
    SurveyError
        With all the problems at once: duplicate or malformed names, fewer than two answers, unknown parents, cycles.
    """

    questions: tuple[Question, ...]
    topological: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        problems = _problems(self.questions)
        order: tuple[int, ...] = ()
        if not problems:
            order, cycle = _topological_order(self.questions)
            if cycle:
                problems.append(f"questions ask for each other in a circle: {' -> '.join(cycle)}")
        if problems:
            raise SurveyError(
                "the questions do not form a decision tree",
                problems=problems,
                expected='unique names, two or more answers each, asked_after = ["question=answer", ...], no circles',
                fix="correct the [[question]] entries named above",
            )
        object.__setattr__(self, "topological", order)

    @cached_property
    def answers(self) -> tuple[str, ...]:
        """All ``{question}_{answer}`` columns, in order."""
        return tuple(column for question in self.questions for column in question.columns)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """For each question, where its answers lie along the answer axis."""
        bounds = np.cumsum([0, *(len(question.answers) for question in self.questions)]).tolist()
        return tuple(slice(start, stop) for start, stop in pairwise(bounds))

    @cached_property
    def question_of_answer(self) -> NDArray[np.int64]:
        """(n_answers,) index of the question that each answer column belongs to."""
        counts = [len(question.answers) for question in self.questions]
        return np.repeat(np.arange(len(counts)), counts)

    def index(self, question: str) -> int:
        """Position of a question by name.

        Raises
        ------
        SurveyError
            Naming the questions there are.
        """
        for position, known in enumerate(self.questions):
            if known.name == question:
                return position
        raise SurveyError(
            f"the tree has no question {question!r}",
            expected="one of " + ", ".join(known.name for known in self.questions),
            fix="use one of these names",
        )

    @cached_property
    def parents(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For each question, the (question index, answer column index) pairs that lead to it."""
        positions = {question.name: i for i, question in enumerate(self.questions)}
        columns = {column: i for i, column in enumerate(self.answers)}
        return tuple(
            tuple(
                (positions[parent], columns[f"{parent}_{answer}"])
                for parent, _, answer in (entry.partition("=") for entry in question.asked_after)
            )
            for question in self.questions
        )

    @cached_property
    def parted(self) -> DecisionTree:
        """The same with each check box as a question of its own, ``{question}-{answer}``, answered yes or no.

        Ticks do not share a volunteer's one vote: each box is ticked, or not, by everyone who was shown it. Its votes
        are therefore Beta-binomial, which is the Dirichlet-multinomial of two answers; how boxes go together is not
        modelled. A question asked after a box is asked after its "yes". A tree without check boxes is its own.

        Raises
        ------
        SurveyError
            A box would have the name of another question.
        """
        boxes = {question.name for question in self.questions if question.multiple_choice}
        if not boxes:
            return self

        def route(entry: str) -> str:
            parent, _, answer = entry.partition("=")
            return f"{_box(parent, answer)}=yes" if parent in boxes else entry

        questions: list[Question] = []
        for question in self.questions:
            after = tuple(route(entry) for entry in question.asked_after)
            if question.name in boxes:
                questions += [Question(_box(question.name, answer), BOX, after) for answer in question.answers]
            else:
                questions.append(replace(question, asked_after=after))
        return DecisionTree(tuple(questions))

    @classmethod
    def joined(cls, trees: Mapping[str, DecisionTree]) -> DecisionTree:
        """The trees of several surveys side by side, questions named by `joined_question`; one tree is itself.

        Votes for it are 0 in all columns but those of the galaxy's own survey: nobody else was asked.
        """
        if len(trees) == 1:
            return next(iter(trees.values()))
        return cls(
            tuple(
                replace(
                    question,
                    name=cls.joined_question(survey, question.name),
                    asked_after=tuple(cls.joined_question(survey, entry) for entry in question.asked_after),
                )
                for survey, tree in trees.items()
                for question in tree.questions
            )
        )

    @staticmethod
    def joined_question(survey: str, name: str) -> str:
        """A survey's question among those of others: ``{survey}.{question}``."""
        return f"{survey.replace('_', '-')}.{name}"

    def proportion_asked(self, fractions: NDArray[Any]) -> NDArray[Any]:
        """Expected share of volunteers who are asked each question.

        A question's share is the sum, over the answers that lead to it, of (share asked the parent) x (fraction giving
        that answer). One volunteer gives at most one of these answers in every published Galaxy Zoo tree, so the sum
        is exact there; where a tree lets one volunteer give several, it is an upper bound and is cut at 1.

        Parameters
        ----------
        fractions
            (n, n_answers) fractions of the votes within each question.

        Returns
        -------
        (n, n_questions) shares in [0, 1]; 1 for questions asked of everybody; a NaN fraction counts as 0.

        Notes
        -----
        Along a single chain of parents this is the product of fractions that Zoobot's catalogues publish (Walmsley et
        al. 2022, MNRAS 509, 3966); the sum over several parents is what the volunteers' real trees add.
        """
        fractions = np.asarray(fractions)
        if fractions.ndim != 2 or fractions.shape[1] != len(self.answers):
            raise SurveyError(
                f"fractions of shape {fractions.shape} do not fit the tree",
                expected=f"(n_galaxies, {len(self.answers)})",
                fix="pass one column per entry of tree.answers, in that order",
            )
        given = np.nan_to_num(fractions, nan=0.0)
        asked = np.ones((len(fractions), len(self.questions)), dtype=given.dtype)
        for q in self.topological:
            if self.parents[q]:
                share = sum(asked[:, parent] * given[:, column] for parent, column in self.parents[q])
                asked[:, q] = np.clip(share, 0.0, 1.0)
        return asked

    def to_dict(self) -> list[dict[str, Any]]:
        """JSON-ready form, read back by `from_dict`."""
        return [
            {
                "name": question.name,
                "answers": list(question.answers),
                "asked_after": list(question.asked_after),
                "multiple_choice": question.multiple_choice,
            }
            for question in self.questions
        ]

    @classmethod
    def from_dict(cls, questions: Iterable[Mapping[str, Any]]) -> DecisionTree:
        """Inverse of `to_dict`."""
        return cls(
            tuple(
                Question(
                    name=entry["name"],
                    answers=tuple(entry["answers"]),
                    asked_after=tuple(entry.get("asked_after", ())),
                    multiple_choice=bool(entry.get("multiple_choice", False)),
                )
                for entry in questions
            )
        )

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change whenever a question, answer or route changes."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def head_outputs(tree: DecisionTree) -> int:
    """Number of concentrations a head needs: one an answer, two (yes and no) an answer of a check-box question."""
    return len(tree.parted.answers)


def joint_name(surveys: Iterable[str]) -> str:
    """What surveys that are learnt together are called: ``joint-decals-gz2``; one is itself."""
    names = tuple(surveys)
    if len(names) == 1:
        return names[0]
    whole = "-".join(["joint", *names])
    if len(whole) <= LONGEST_NAME:
        return whole
    return f"joint-{len(names)}-surveys-{hashlib.blake2b(whole.encode(), digest_size=4).hexdigest()}"


def _box(question: str, answer: str) -> str:
    return f"{question}-{answer.replace('_', '-')}"


def _problems(questions: tuple[Question, ...]) -> list[str]:
    problems = [] if questions else ["there is no question"]
    seen: set[str] = set()
    for question in questions:
        name = question.name
        if name in seen:
            problems.append(f"question {name!r} stands twice")
        seen.add(name)
        problems += [f"question {name!r}: {why}" for why in _name_problems(name, "question")]
        if len(question.answers) < 2:
            problems.append(f"question {name!r} has {len(question.answers)} answer(s); it needs two or more")
        for answer in question.answers:
            problems += [f"question {name!r}, answer {answer!r}: {why}" for why in _name_problems(answer, "answer")]
        for answer in sorted({a for a in question.answers if question.answers.count(a) > 1}):
            problems.append(f"question {name!r} has the answer {answer!r} twice")
    known = {question.name: question.answers for question in questions}
    for question in questions:
        for entry in question.asked_after:
            parent, equals, answer = entry.partition("=")
            if not equals:
                problems.append(f"question {question.name!r}: asked_after {entry!r} is not of the form question=answer")
            elif parent not in known:
                problems.append(
                    f"question {question.name!r}: asked_after {entry!r} names an unknown question"
                    f" (known: {', '.join(known)})"
                )
            elif answer not in known[parent]:
                problems.append(
                    f"question {question.name!r}: {parent!r} has no answer {answer!r}"
                    f" (it has: {', '.join(known[parent])})"
                )
        for entry in sorted({e for e in question.asked_after if question.asked_after.count(e) > 1}):
            problems.append(f"question {question.name!r}: asked_after {entry!r} stands twice")
    return problems


def _name_problems(name: str, kind: str) -> list[str]:
    problems = []
    if not name or name != name.strip().lower() or any(c.isspace() for c in name):
        problems.append("must be lower case words joined by '-'")
    if "=" in name or "/" in name:
        problems.append("must not contain '=' or '/'")
    if "_" in name and kind == "question":
        problems.append("must not contain '_', which separates question and answer in column names")
    return problems


def _topological_order(questions: tuple[Question, ...]) -> tuple[tuple[int, ...], list[str]]:
    """Order with parents first, or the names along one circle."""
    positions = {question.name: i for i, question in enumerate(questions)}
    parents = [sorted({positions[entry.partition("=")[0]] for entry in question.asked_after}) for question in questions]
    order: list[int] = []
    state = [0] * len(questions)

    def visit(q: int, path: list[int]) -> list[int]:
        if state[q] == 2:
            return []
        if state[q] == 1:
            return [*path[path.index(q) :], q]
        state[q] = 1
        for parent in parents[q]:
            if circle := visit(parent, [*path, q]):
                return circle
        state[q] = 2
        order.append(q)
        return []

    for q in range(len(questions)):
        if circle := visit(q, []):
            return (), [questions[i].name for i in circle]
    return tuple(order), []
