"""Parameters that several flows share, as Prefect's forms show and check them.

What a form can check is refused by the server, before there is a run; what only the worker knows is the first thing
that a run looks at.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from gzflow.surveys import load_survey, survey_names
from gzflow.training.config import TrainConfig


def _known(survey: str) -> str:
    load_survey(survey)  # a survey's own errors say more than "does not match"
    # Chunks may run in processes that began in other folders.
    return survey if survey in survey_names() else str(Path(survey).absolute())


SurveyName = Annotated[
    str,
    AfterValidator(_known),
    Field(json_schema_extra={"pattern": rf"^({'|'.join(map(re.escape, survey_names()))})$|\.toml$"}),
]
"""A shipped survey's name, or the path of a user's TOML."""

# Forms alone are strict about these: from the shell, a wrong one gets an answer that knows which models there are.
_URI = r"models:/[^/@\s]+(/\d+|@[\w-]+)"
_PATH = r"(?!models:|file:)[^;|&<>$`\"'*?!\\]*[/.][^;|&<>$`\"'*?!\\]*"


def _like(*forms: str) -> Any:
    return Field(json_schema_extra={"pattern": f"^({'|'.join(forms)})$"})


VersionName = Annotated[str, _like(r"\d+", "@?(champion|challenger)", _URI)]
"""One of a survey's registered models: a version number, an alias, a ``models:/`` URI."""

ModelName = Annotated[str, _like(r"\d+", "@?(champion|challenger)", _URI, _PATH)]
"""The same, or the path of a saved model's folder: what has a slash or a dot in it."""

ParentName = Annotated[str, _like(r"[\w-]+(/\d+|@(champion|challenger))?", _URI, _PATH)]
"""A model of another survey: its name (its champion), ``survey/3``, ``survey@challenger``, a URI or a path."""


def _buildable(config: TrainConfig) -> TrainConfig:
    from gzflow.model.encoders import require_encoder  # with it comes torch, which an ingest never needs

    require_encoder(config.encoder)  # over a hundred names are too many for a menu
    return config


Training = Annotated[TrainConfig, AfterValidator(_buildable)]
"""Training options with an encoder that there is: said before a pipeline has spent hours on images."""

LabelCounts = Annotated[
    list[Annotated[int, Field(ge=1)]], Field(max_length=20, json_schema_extra={"uniqueItems": True})
]
"""Numbers of training galaxies, each once."""

Side = Annotated[int, Field(ge=16, le=1024)]
"""Side of stored images, in pixels."""

Seed = Annotated[int, Field(ge=0)]
Samples = Annotated[int, Field(ge=1, le=1000)]
"""Dropout samples of the head a galaxy."""
