"""Votes: a Zooniverse export -> the table that ingest reads, and a list of all that was not counted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from gzflow.catalog.zooniverse import (
    Choice,
    Counted,
    LoggedOut,
    TaskBook,
    count_classifications,
    count_reductions,
    discovered,
    kind_of,
    read_tasks,
    survey_table,
)
from gzflow.catalog.zooniverse.survey_table import other_columns, require_countable
from gzflow.durable import replacing
from gzflow.errors import CatalogError, EmptyCatalog, GzflowError, SettingsError, SurveyError
from gzflow.surveys import Survey, load_survey

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VotesSummary:
    """What became of the rows of an export.

    Attributes
    ----------
    file, left_out_file
        The table, and the list of what is not counted.
    empty
        Columns of the survey that nobody filled.
    unknown
        Galaxies that the catalog does not know.
    """

    survey: str
    file: Path
    left_out_file: Path
    n_galaxies: int
    n_votes: int
    n_read: int
    n_counted: int
    rows_left_out: dict[str, int]
    answers_left_out: dict[str, int]
    empty: tuple[str, ...]
    unknown: tuple[str, ...]

    def sentence(self) -> str:
        """One line for people."""
        rest = "".join(f" + {n:,} {reason}" for reason, n in sorted(self.rows_left_out.items()))
        return (
            f"{self.n_read:,} rows = {self.n_counted:,} counted{rest}; {self.n_votes:,} votes for"
            f" {self.n_galaxies:,} galaxies"
        )


def count_votes(
    export: Path,
    survey: str,
    out: Path,
    *,
    tasks: Path | None = None,
    subjects: Path | None = None,
    catalog: Path | None = None,
    keep: Choice = "first",
    logged_out: LoggedOut = "by-name",
) -> VotesSummary:
    """Count an export's votes and write them as the survey's table.

    Parameters
    ----------
    export
        A classifications export, or reductions of panoptes-aggregation.
    out
        A ``.csv`` or ``.parquet`` file; beside it ``.left-out.csv`` lists what is not counted.
    tasks
        What the workflow's tasks mean; may be left out where they are named as the survey's questions and answers.
    subjects
        The project's subjects export.
    catalog
        A table with the survey's other columns, positions above all.
    keep, logged_out
        Which of a person's several classifications counts; who is a person without an account.

    Raises
    ------
    CatalogError
        The files cannot be read, or do not say which task is which question: then a file to complete is written.
    SettingsError, SurveyError
        As their names say.
    """
    described = load_survey(survey)
    require_countable(described)
    if out.suffix not in {".csv", ".parquet"}:
        raise SettingsError(
            f"cannot write {out.name}", expected="a file that ends in .csv or .parquet", fix="see --out"
        )
    lines = out.with_suffix(".left-out.csv")
    _spare(out, lines, [export, tasks, subjects, catalog, Path(survey)])
    reduced = kind_of(export) == "reductions"
    if reduced and (keep, logged_out) != ("first", "by-name"):
        raise SettingsError(
            "which of a person's classifications count was decided when these reductions were made",
            where=str(export),
            expected="no --keep and no --logged-out with reductions",
            fix="leave them out, or count the classifications export itself",
        )
    if reduced:
        _require_known_viewers(export, described)
    book = _book(export, described, tasks, out)
    wanted = other_columns(described)
    with replacing(lines) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        if reduced:
            counted = count_reductions(export, book, subjects, stream, metadata=wanted)
        else:
            counted = count_classifications(
                export,
                book,
                stream,
                keep=keep,
                logged_out=logged_out,
                subjects_export=subjects,
                metadata=wanted,
            )
    _require_balance(counted)
    if not counted.ids:
        raise EmptyCatalog(
            "not one vote could be counted",
            where=str(export),
            problems=[f"{reason}: {n:,} rows" for reason, n in counted.rows_left_out.items()],
            expected="a row for each classification" if not counted.n_read else None,
            fix=f"look at {lines}, which lists every row, and at the tasks file"
            if counted.n_read
            else "the export has no rows: generate it again on the project's Data Exports page",
        )
    table = survey_table(described, counted, catalog)
    _write(table.frame, out)
    return VotesSummary(
        survey=described.name,
        file=out,
        left_out_file=lines,
        n_galaxies=len(table.frame),
        n_votes=int(counted.votes.sum()),
        n_read=counted.n_read,
        n_counted=counted.n_counted,
        rows_left_out=dict(counted.rows_left_out),
        answers_left_out=dict(counted.answers_left_out),
        empty=table.empty,
        unknown=table.unknown,
    )


def _spare(out: Path, lines: Path, given: Sequence[Path | None]) -> None:
    """Refuse to write over a file that is read: an export takes Zooniverse hours to make again."""
    for file in (out, lines):
        if any(path is not None and path.exists() and file.exists() and path.samefile(file) for path in given):
            raise SettingsError(
                f"{file} is read by this command and would be overwritten",
                expected="another file for the votes",
                fix="name one with --out",
            )


def _book(export: Path, survey: Survey, tasks: Path | None, out: Path) -> TaskBook:
    kind = kind_of(export)
    if kind == "subjects":
        raise CatalogError(
            "a subjects export has no votes",
            where=str(export),
            expected="a classifications export, or reductions",
            fix="give this file with --subjects",
        )
    if tasks is not None:
        return read_tasks(tasks, survey.described)
    if kind == "reductions":
        raise CatalogError(
            "reductions do not say what their tasks mean",
            where=str(export),
            expected="a tasks file",
            fix="give one with --tasks; from the classifications export this command writes a first one",
        )
    return discovered(export, survey.described).book(export, out.with_suffix(".tasks.toml"))


def _require_known_viewers(export: Path, survey: Survey) -> None:
    """Reductions count ticks; how many volunteers saw check boxes without ticking one, they do not say."""
    boxes = [question.name for question in survey.described.questions if question.multiple_choice]
    total = survey.catalog.votes.total if survey.catalog.votes else None
    if boxes and total and "{" in total:
        raise SurveyError(
            "reductions do not say how many volunteers saw the check boxes",
            where=f"{export}, survey {survey.name!r}: {', '.join(boxes)}",
            expected=f"a classifications export, for the column {total!r}",
            fix="count the classifications export, or take a survey without total: it counts those who came that far",
        )


def _require_balance(counted: Counted) -> None:
    out = counted.n_counted + sum(counted.rows_left_out.values())
    if counted.n_read != out:
        raise GzflowError(
            f"{counted.n_read} rows went in and {out} came out",
            expected="every row counted or listed",
            fix="this is a defect of gzflow: please report it with this message",
        )


def _write(frame: pl.DataFrame, out: Path) -> None:
    with replacing(out) as temporary:
        if out.suffix == ".parquet":
            frame.write_parquet(temporary)
        else:
            frame.write_csv(temporary)
