"""All that is wrong with a survey's TOML, found at once and said in the user's words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from gzflow.errors import SurveyError
from gzflow.surveys.survey import PLACEHOLDER, QuestionEntry, Survey
from gzflow.tree import DecisionTree, Question

_IN_TOML = {
    "extra_forbidden": "unknown key",
    "missing": "missing",
    "tuple_type": "must be a list: [ ... ]",
    "dict_type": "must be a table: [ ... ] or { ... }",
    "model_type": "must be a table: [ ... ] or { ... }",
    "string_type": 'must be text: "..."',
}
"""What pydantic says in Python's terms, said in TOML's."""


def validated(document: dict[str, Any], where: str) -> Survey:
    """The survey that a whole document describes.

    Raises
    ------
    SurveyError
        All that is wrong with it, naming question and answer.
    """
    problems: list[str] = []
    survey: Survey | None = None
    try:
        survey = Survey.model_validate(document)
    except ValidationError as error:
        problems += [_sentence(document, entry) for entry in error.errors()]
    problems += _coordinate_problems(document)
    problems += _tree_problems(document)
    if survey is not None:
        problems += _column_problems(survey)
        problems += _box_problems(survey)
        if survey.mosaic is not None:
            has_positions = survey.catalog.ra is not None
            problems += survey.mosaic.problems(has_cutout=survey.cutout is not None, has_positions=has_positions)
    problems += _sql_problems(document)
    if problems or survey is None:
        raise SurveyError(
            "the survey description is not valid",
            where=where,
            problems=problems,
            expected="the keys that docs/surveys.md lists",
            fix="correct the entries above; `gzflow surveys` lists working examples",
        )
    return survey


def _sentence(document: Mapping[str, Any], entry: Any) -> str:
    """One pydantic problem in the user's words: the question's name instead of its position."""
    location = list(entry["loc"])
    questions = document.get("question")
    if location[:1] == ["question"] and len(location) > 1 and isinstance(questions, list):
        at = questions[location[1]] if isinstance(location[1], int) and location[1] < len(questions) else {}
        location[:2] = [f"question {at.get('name', location[1])!r}" if isinstance(at, dict) else "question"]
    message = _IN_TOML.get(entry["type"]) or entry["msg"].removeprefix("Value error, ")
    return f"{'.'.join(str(part) for part in location)}: {message}"


def _coordinate_problems(document: Mapping[str, Any]) -> list[str]:
    # Not a validator of Catalog: pydantic would skip it as soon as any other key of the table is wrong.
    catalog = document.get("catalog")
    alone = isinstance(catalog, Mapping) and (catalog.get("ra") is None) != (catalog.get("dec") is None)
    return ["catalog: give both ra and dec, or neither"] if alone else []


def _tree_problems(document: Mapping[str, Any]) -> list[str]:
    """Problems of the tree, found even when other parts of the TOML are wrong."""
    entries = document.get("question", [])
    if not isinstance(entries, list):
        return []
    known = QuestionEntry.model_fields.keys()
    try:
        questions = tuple(
            QuestionEntry.model_validate({key: value for key, value in entry.items() if key in known})
            for entry in entries
            if isinstance(entry, Mapping)
        )
    except ValidationError:
        return []
    problems: list[str] = []
    try:
        tree = DecisionTree(tuple(Question(q.name, q.answers, q.asked_after, q.multiple_choice) for q in questions))
        tree.parted  # noqa: B018 - raises where a box would be named as another question
    except SurveyError as error:
        problems += error.problems
    for q in questions:
        if q.columns is not None and len(q.columns) != len(q.answers):
            problems.append(f"question {q.name!r}: {len(q.columns)} columns for {len(q.answers)} answers")
    return problems


def _box_problems(survey: Survey) -> list[str]:
    """How many volunteers saw the boxes must be known: ticks do not add up to it."""
    votes = survey.catalog.votes
    if votes is None:
        return []
    problems = []
    totalled = votes.total is not None and "{" in votes.total
    boxes = {question.name for question in survey.question if question.multiple_choice}
    for question in survey.question:
        if question.name not in boxes:
            continue
        name = f"question {question.name!r}"
        after = {entry.partition("=")[0] for entry in question.asked_after}
        if votes.cumulative is not None:
            problems.append(f"{name}: check boxes have no cumulative probabilities; give count, or fraction and total")
        elif not totalled and (not after or after & boxes):
            problems.append(
                f"{name}: how many volunteers saw the check boxes is unknown: give catalog.votes.total with"
                " {question}, or the answers that led there, none of them a check box (asked_after)"
            )
    return problems


def _column_problems(survey: Survey) -> list[str]:
    votes, archive = survey.catalog.votes, survey.archive
    templates = [("archive.member", archive.member)] if archive else []
    if votes is not None:
        keys = ("count", "fraction", "cumulative", "total")
        templates += [(f"catalog.votes.{key}", text) for key in keys if (text := getattr(votes, key))]
    templates += [("catalog.carry", entry) for entry in survey.carried_entries if "{" in entry]
    problems = [
        f"{key}: {pattern!r} has braces that are no placeholder: write {{column}} or a part of it, {{column[:4]}}"
        for key, pattern in templates
        if set("{}") & set(PLACEHOLDER.sub("", pattern))
    ]
    if archive and not PLACEHOLDER.search(archive.member):
        problems.append(f"archive.member: {archive.member!r} names no column: all galaxies would share one image")
    for key, pattern in templates:
        if key != "archive.member":
            problems += _pattern_problems(survey, key, pattern)
    if votes is not None and not problems:
        names = [column for column, _ in survey.vote_columns()]
        problems += [f"two answers are read from the same column {name!r}" for name in sorted(_repeated(names))]
    return problems


def _pattern_problems(survey: Survey, key: str, pattern: str) -> list[str]:
    known = {"question", "task"} if key.endswith(".total") else {"question", "answer", "column", "task"}
    used = [name for name, *_ in PLACEHOLDER.findall(pattern)]
    problems = [f"{key}: {{{name}}} is not known there" for name in used if name not in known]
    for q in survey.question:
        if "task" in used and q.task is None:
            problems.append(f"question {q.name!r}: {key} uses {{task}} but the question has no task")
        if "column" in used and q.columns is None:
            problems.append(f"question {q.name!r}: {key} uses {{column}} but it has no columns")
    return problems


def _sql_problems(document: Mapping[str, Any]) -> list[str]:
    """Problems of the SQL expressions, found even when other parts of the TOML are wrong."""
    found = {
        f"{table}.{key}": section.get(key)
        for table, key in (("catalog", "where"), ("cutout", "pixscale"), ("mosaic", "pixscale"))
        if isinstance(section := document.get(table), Mapping)
    }
    expressions = {key: expression for key, expression in found.items() if isinstance(expression, str)}
    if not expressions:
        return []
    import polars as pl  # only where there is SQL: a quarter of a second that `--help` need not pay

    problems = []
    for key, expression in expressions.items():
        try:
            pl.sql_expr(expression)
        except pl.exceptions.PolarsError as error:
            problems.append(f"{key}: not an SQL expression that polars understands: {error}")
    return problems


def _repeated(names: Iterable[str]) -> set[str]:
    return {name for name, times in Counter(names).items() if times > 1}
