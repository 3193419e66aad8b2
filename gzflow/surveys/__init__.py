"""Surveys as data: one TOML each, shipped here or written by the user."""

from gzflow.surveys.survey import Survey, load_survey, survey_names

__all__ = ["Survey", "load_survey", "survey_names"]
