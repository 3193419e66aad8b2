"""Which shipped survey a table belongs to, by its columns: its votes, or another model's predictions of its answers."""

from __future__ import annotations

from collections.abc import Sequence

from gzflow.catalog.columns import resolve
from gzflow.catalog.published import KINDS
from gzflow.surveys import load_survey, survey_names


def recognised(names: Sequence[str]) -> tuple[str, ...]:
    """Shipped surveys that find all their columns in such a table, those that know most of it first."""
    known = {}
    for name in survey_names():
        survey = load_survey(name)
        if survey.catalog.votes is None:
            continue
        pairs = survey.vote_columns()
        needed = {survey.catalog.id, survey.catalog.ra, survey.catalog.dec, *(c for pair in pairs for c in pair)} - {
            None
        }
        wanted = [str(column) for column in needed]
        if len(resolve(wanted, names)) == len(wanted):
            carried = [column for columns in survey.carried_columns().values() for column in columns]
            found = len(resolve(carried, names))
            known[name] = (found < len(carried), -found)
    return tuple(sorted(known, key=lambda name: (known[name], name)))


def predicted(names: Sequence[str]) -> tuple[str, ...]:
    """Shipped surveys for all of whose answers such a table has a concentration, or for all a fraction."""
    known = []
    for name in survey_names():
        answers = load_survey(name).tree.answers
        if any(len(resolve([f"{answer}_{kind}" for answer in answers], names)) == len(answers) for kind in KINDS):
            known.append(name)
    return tuple(known)
