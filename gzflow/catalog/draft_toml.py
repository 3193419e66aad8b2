"""A survey draft as a TOML file whose comments say what was seen, what was chosen, and what only a person can know."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from gzflow.catalog.draft import ROWS, QuestionDraft, SurveyDraft


def draft_toml(draft: SurveyDraft) -> str:
    """The text of the file. Where nothing was found the key is left out, so that the survey does not load yet."""
    lines = [f"# Begun by `gzflow survey new` from the columns and the first {ROWS} rows of {draft.table}.", ""]
    lines += [f"# {note}" for note in draft.notes]
    if draft.notes:
        lines.append("")
    lines += ["[survey]", f"name = {_quoted(draft.name)}"]
    if draft.extends:
        same = f"  # or: {', '.join(draft.extends[1:])}, which have these columns too" if len(draft.extends) > 1 else ""
        lines.insert(len(lines) - 1, f"extends = {_quoted(draft.extends[0])}{same}")
        lines += ["", "# Everything else is inherited: write here only what differs, for instance", "# [catalog]"]
        return "\n".join([*lines, "# where = false", ""])
    if draft.predictions:
        return "\n".join([*lines[:-1], *_predicted(draft), ""])
    for key, value in (("title", draft.title), ("citation", draft.citation)):
        lines.append(f"{key} = {_quoted(value)}" if value else f"# {key} = {_quoted('...')}")
    lines += ['# licence = "..."', '# acknowledgement = "..."  # copied into what is made with the survey', ""]
    lines += ["[catalog]", *_identity(draft), *_place(draft), *_votes(draft)]
    lines += _pictures(draft)
    for question in draft.questions:
        lines += ["", *_question(question, first=question is draft.questions[0], renamed=_renamed(draft))]
    if not draft.questions:
        lines += ["", "# [[question]]", '# name = "..."', '# answers = ["yes", "no"]']
    return "\n".join([*lines, ""])


def _predicted(draft: SurveyDraft) -> list[str]:
    """The survey of a table that holds another model's predictions: its galaxies, without votes."""
    first, *others = draft.predictions
    also = f"  # or: {', '.join(others)}, which have these answers too" if others else ""
    place = [line for line in _place(replace(draft, images=())) if "carry" not in line]
    return [
        f"extends = {_quoted(first)}{also}",
        f"name = {_quoted(draft.name)}",
        "",
        "# The table holds what another model predicted, not votes: gzflow.catalog.published.read_published reads it",
        "# for comparison. As a survey, these are galaxies to be predicted.",
        "[catalog]",
        *_identity(draft),
        *place,
        "votes = false",
        "carry = []  # columns to keep with each galaxy",
        *(["where = false  # the table lacks columns of the inherited filter"] if draft.unfiltered else []),
    ]


def _identity(draft: SurveyDraft) -> list[str]:
    if not draft.ids:
        return ['# id = "..."  # which column names a galaxy? None was recognised that has no value twice']
    others = f"; also unique: {', '.join(draft.ids[1:])}" if len(draft.ids) > 1 else ""
    return [f"id = {_quoted(draft.ids[0])}  # by its name, and unique in the rows seen{others}"]


def _place(draft: SurveyDraft) -> list[str]:
    lines = []
    if draft.positions:
        ra, dec = draft.positions[0]
        lines += [f"ra = {_quoted(ra)}  # taken for degrees, J2000", f"dec = {_quoted(dec)}"]
    else:
        lines += ['# ra = "..."  # degrees, J2000; without positions, images come from files only', '# dec = "..."']
    if draft.images:
        others = f"  # or: {', '.join(draft.images[1:])}" if len(draft.images) > 1 else ""
        lines.append(f"image = {_quoted(draft.images[0])}{others}")
    lines.append('# carry = ["redshift"]  # columns to keep with each galaxy')
    return lines


def _votes(draft: SurveyDraft) -> list[str]:
    if not draft.questions:
        return [
            "",
            "# [catalog.votes]  # without it the survey can only be predicted",
            '# count = "{question}_{answer}"',
        ]
    question, answer = ("{task}", "{column}") if _renamed(draft) else ("{question}", "{answer}")
    lines = ["", "[catalog.votes]", f"{draft.form} = {_quoted(f'{question}_{answer}{draft.suffix}')}"]
    if draft.total:
        lines.append(f"total = {_quoted(f'{question}{draft.total}')}")
    return lines


def _renamed(draft: SurveyDraft) -> bool:
    """Whether any name had to change: then all questions name their columns, since one pattern serves them all."""
    return any(question.renamed for question in draft.questions)


def _pictures(draft: SurveyDraft) -> list[str]:
    lines = []
    if not draft.images:
        lines += ["", "# [archive]  # where an image lies in a folder or ZIP", '# member = "{id}.jpg"']
    if draft.positions:
        lines += ["", "# [cutout]  # or a service; docs/surveys.md lists them", '# service = "legacysurvey"']
        lines += ["# pixels = 424", "# pixscale = 0.262  # arcsec per pixel, or an SQL expression over columns"]
    return lines


def _question(question: QuestionDraft, *, first: bool, renamed: bool) -> list[str]:
    lines = ["[[question]]", f"name = {_quoted(question.name)}", f"answers = {_list(question.answers)}"]
    if question.asked_after:
        lines.append(f"asked_after = {_list(question.asked_after)}")
    elif question.likely:
        lines.append(f"# asked_after = {_list(question.likely)}  # as many votes as this question's, in every row seen")
    elif not first:
        lines.append('# asked_after = ["question=answer"]  # as it stands: asked of everybody')
    if renamed:
        lines += [f"task = {_quoted(question.task)}", f"columns = {_list(question.columns)}"]
    return lines


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a JSON string is a TOML string


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(_quoted(text) for text in texts)}]"
