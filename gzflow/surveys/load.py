"""A survey's TOML, shipped or a user's own, read with what it extends."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from gzflow.errors import SurveyError, UnknownSurvey
from gzflow.surveys.checks import validated
from gzflow.surveys.survey import Survey


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
    return validated(document, where)


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
        fix=_meant(name),
    )


def _meant(name: str) -> str:
    """What somebody who gave this name may have wanted to say."""
    if name.endswith(".toml"):
        return f"there is no file of that name in {Path.cwd()}; correct the path"
    if name.startswith("joint-"):
        return "surveys that were learnt together go one by one: each has its share as a model in its own name"
    if (own := Path(f"{name}.toml")).is_file():
        return f"say {own}: a survey of your own is named by its file"
    if near := get_close_matches(name, survey_names(), n=2):
        return f"did you mean {' or '.join(near)}?"
    return "run `gzflow surveys` for the list; a survey of your own is named by the path of its TOML"


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
    try:
        text, base_where = _source(beside if base not in survey_names() and beside.is_file() else base)
    except UnknownSurvey as error:
        error.where = f"{where}, extends"
        raise
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
