"""Parameters that several flows share, as Prefect's forms show and check them.

What a form can check is refused by the server, before there is a run; what only the worker knows is the first thing
that a run looks at.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from gzflow.surveys import load_survey, survey_names


def _known(survey: str) -> str:
    load_survey(survey)  # a survey's own errors say more than "does not match"
    return survey


SurveyName = Annotated[
    str,
    AfterValidator(_known),
    Field(json_schema_extra={"pattern": rf"^({'|'.join(map(re.escape, survey_names()))})$|\.toml$"}),
]
"""A shipped survey's name, or the path of a user's TOML."""

Side = Annotated[int, Field(ge=16, le=1024)]
"""Side of stored images, in pixels."""

Seed = Annotated[int, Field(ge=0)]
Samples = Annotated[int, Field(ge=1, le=1000)]
"""Dropout samples of the head a galaxy."""
