"""Surveys as data: one TOML each, shipped here or written by the user."""

from gzflow.surveys.load import load_survey, survey_names
from gzflow.surveys.survey import Survey

__all__ = ["Survey", "load_survey", "survey_names"]
