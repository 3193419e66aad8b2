"""A survey as its TOML describes it: catalog columns, cutouts, images, and the decision tree."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gzflow.errors import SurveyError, UnknownSurvey
from gzflow.recipe import CutoutSpec, ImageRecipe, RecipeName
from gzflow.tree import DecisionTree, Question

PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w-]*)(?:\[(-?\d*):(-?\d*)\])?\}")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class About(_Section):
    """The ``[survey]`` table."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=40)]
    title: str = ""
    citation: str = ""
    licence: str = ""
    acknowledgement: str = ""
    image_rights: Literal["open", "restricted"] = "open"


class Join(_Section):
    """A second table that brings more columns; rows without a partner keep NULL."""

    table: str
    on: str
    id: str | None = None
    """Column of the main table to match `on` with; None is the survey's id."""


class VoteColumns(_Section):
    """How votes are written in the catalog.

    Patterns may use ``{question}``, ``{answer}``, ``{column}`` (the question's `columns`, parallel to its answers) and
    ``{task}`` (the question's `task`).
    """

    count: str | None = None
    fraction: str | None = None
    total: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.count is None) == (self.fraction is None):
            raise ValueError("give either count or fraction, not both and not neither")
        if self.fraction is not None and self.total is None:
            raise ValueError("fraction needs total: votes = round(fraction x total)")
        return self


class Catalog(_Section):
    """The ``[catalog]`` table: which columns mean what."""

    id: str
    ra: str | None = None
    dec: str | None = None
    image: str | None = None
    where: str | None = None
    carry: tuple[str, ...] = ()
    join: tuple[Join, ...] = ()
    votes: VoteColumns | None = None


class FileMapping(_Section):
    """A table from ids to file names, as ``gz2_filename_mapping.csv``."""

    id: str
    also: tuple[str, ...] = ()
    """Further columns, of the same name in both tables, that must agree."""


class Archive(_Section):
    """Where an image lies in a published folder or ZIP."""

    member: str
    mapping: FileMapping | None = None


class Image(_Section):
    """How the pixels were or are made."""

    recipe: RecipeName = "as-delivered"
    bands: tuple[str, ...] = ()
    channels: Literal["RGB", "L"] = "RGB"


class QuestionEntry(_Section):
    """One ``[[question]]``."""

    name: str
    answers: tuple[str, ...]
    asked_after: tuple[str, ...] = ()
    multiple_choice: bool = False
    task: str | None = None
    columns: tuple[str, ...] | None = None
    off_total: Literal["fail", "drop"] = "fail"
    """A galaxy whose answers do not add up to the published total: it fails, or only this question's votes are
    dropped, as when some galaxies were shown other answers or check boxes."""


class Survey(_Section):
    """A validated survey.

    Attributes
    ----------
    about, catalog, cutout, archive, image, question
        The TOML's tables. `cutout` is None where images come from files only.
    """

    about: Annotated[About, Field(alias="survey")]
    catalog: Catalog
    cutout: CutoutSpec | None = None
    archive: Archive | None = None
    image: Image = Image()
    question: tuple[QuestionEntry, ...]

    @property
    def name(self) -> str:
        """Short name, used in paths, tables and registered models."""
        return self.about.name

    @cached_property
    def tree(self) -> DecisionTree:
        """The decision tree, in the TOML's order."""
        return DecisionTree(tuple(Question(q.name, q.answers, q.asked_after, q.multiple_choice) for q in self.question))

    def image_recipe(self, pixels: int) -> ImageRecipe:
        """The recipe that shards of `pixels` a side are stamped with."""
        return ImageRecipe(
            name=self.image.recipe,
            bands=self.image.bands,
            channels=self.image.channels,
            scale_rule=str(self.cutout.pixscale) if self.cutout else "file",
            pixels=pixels,
        )

    def vote_columns(self) -> tuple[tuple[str, str | None], ...]:
        """For each entry of ``tree.answers``: (votes or fraction column, total column or None) of the catalog."""
        votes = self.catalog.votes
        if votes is None:
            return ()
        pattern = votes.count or votes.fraction or ""
        return tuple(
            (
                _fill(pattern, question=q.name, answer=answer, column=column, task=q.task),
                _fill(votes.total, question=q.name, task=q.task) if votes.total else None,
            )
            for q in self.question
            for answer, column in zip(q.answers, q.columns or q.answers, strict=True)
        )

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of everything in the TOML that decides the data."""
        text = json.dumps(self.model_dump(mode="json", exclude={"about"}), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def survey_names() -> tuple[str, ...]:
    """Names of the shipped surveys."""
    return tuple(sorted(entry.name[:-5] for entry in files("gzflow.surveys").iterdir() if entry.name.endswith(".toml")))


def load_survey(name_or_path: str | Path) -> Survey:
    """Load and validate a shipped survey by name, or a user's TOML by path.

    Raises
    ------
    UnknownSurvey
        No such name or file; lists the shipped ones.
    SurveyError
        All that is wrong with the TOML, naming question and answer.
    """
    text, where = _source(name_or_path)
    document = _parse(text, where)
    document = _extended(document, where, seen=(str(name_or_path),))
    return _validated(document, where)


def _source(name_or_path: str | Path) -> tuple[str, str]:
    name = str(name_or_path)
    if name in survey_names():
        return files("gzflow.surveys").joinpath(f"{name}.toml").read_text("utf-8"), f"gzflow/surveys/{name}.toml"
    path = Path(name)
    if path.is_file():
        try:
            return path.read_text("utf-8-sig"), str(path)
        except UnicodeDecodeError as error:
            raise SurveyError(
                "the survey file is not text", where=str(path), expected="a TOML file in UTF-8", fix=str(error)
            ) from error
    raise UnknownSurvey(
        f"there is no survey {name!r}",
        expected=f"one of {', '.join(survey_names())}, or the path of a TOML file",
        fix="run `gzflow surveys` for the list; README shows how to describe your own",
    )


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SurveyError("the survey file is not TOML", where=f"{where}: {error}", fix="correct that line") from error


def _extended(document: dict[str, Any], where: str, seen: tuple[str, ...]) -> dict[str, Any]:
    about = document.get("survey")
    base = about.pop("extends", None) if isinstance(about, dict) else None
    if base is None:
        return document
    if base in seen:
        raise SurveyError("surveys extend each other in a circle", where=f"{where}: {' -> '.join((*seen, base))}")
    beside = Path(where).parent / str(base)
    text, base_where = _source(beside if base not in survey_names() and beside.is_file() else base)
    return _merged(_extended(_parse(text, base_where), base_where, (*seen, base)), document)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        inherited = result.get(key)
        if value is False and inherited is not None and not isinstance(inherited, bool):
            del result[key]  # TOML has no null: `cutout = false` says that the variant does without
        elif isinstance(value, Mapping) and isinstance(inherited, Mapping):
            result[key] = _merged(inherited, value)
        else:
            result[key] = value
    return result


def _validated(document: dict[str, Any], where: str) -> Survey:
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
    message = "unknown key" if entry["type"] == "extra_forbidden" else entry["msg"].removeprefix("Value error, ")
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
        DecisionTree(tuple(Question(q.name, q.answers, q.asked_after, q.multiple_choice) for q in questions))
    except SurveyError as error:
        problems += error.problems
    for q in questions:
        if q.columns is not None and len(q.columns) != len(q.answers):
            problems.append(f"question {q.name!r}: {len(q.columns)} columns for {len(q.answers)} answers")
        if q.multiple_choice:
            problems.append(f"question {q.name!r}: check-box questions (multiple_choice) cannot be trained yet")
    return problems


def _column_problems(survey: Survey) -> list[str]:
    votes, archive = survey.catalog.votes, survey.archive
    patterns = {"archive.member": archive.member} if archive else {}
    patterns |= {f"catalog.votes.{key}": pattern for key, pattern in (votes or {}) if pattern}
    problems = [
        f"{key}: {pattern!r} has braces that are no placeholder: write {{column}} or a part of it, {{column[:4]}}"
        for key, pattern in patterns.items()
        if set("{}") & set(PLACEHOLDER.sub("", pattern))
    ]
    if archive and not PLACEHOLDER.search(archive.member):
        problems.append(f"archive.member: {archive.member!r} names no column: all galaxies would share one image")
    if votes is None:
        return problems
    allowed = {"question", "answer", "column", "task"}
    for key in ("count", "fraction", "total"):
        pattern = getattr(votes, key) or ""
        for placeholder in PLACEHOLDER.findall(pattern):
            if placeholder[0] not in allowed or (key == "total" and placeholder[0] in {"answer", "column"}):
                problems.append(f"catalog.votes.{key}: {{{placeholder[0]}}} is not known there")
        for q in survey.question:
            if "{task}" in pattern and q.task is None:
                problems.append(f"question {q.name!r}: catalog.votes.{key} uses {{task}} but the question has no task")
            if "{column}" in pattern and q.columns is None:
                problems.append(f"question {q.name!r}: catalog.votes.{key} uses {{column}} but it has no columns")
    if not problems:
        names = [column for column, _ in survey.vote_columns()]
        problems += [f"two answers are read from the same column {name!r}" for name in sorted(_repeated(names))]
    return problems


def _sql_problems(document: Mapping[str, Any]) -> list[str]:
    """Problems of the SQL expressions, found even when other parts of the TOML are wrong."""
    found = {
        f"{table}.{key}": section.get(key)
        for table, key in (("catalog", "where"), ("cutout", "pixscale"))
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


def _fill(pattern: str, **values: str | None) -> str:
    return PLACEHOLDER.sub(lambda match: str(values[match[1]]), pattern)
