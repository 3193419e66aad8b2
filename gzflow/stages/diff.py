"""Diff: which answers of a survey changed from one catalogue to another, beyond their intervals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv

from gzflow.durable import replacing, write_bytes
from gzflow.errors import ExportError
from gzflow.evaluation.changes import EVERYTHING, Estimates, Moves, QuestionChange, SliceChange, moves, slice_changes
from gzflow.evaluation.figures import changes_figure, figure_writer
from gzflow.evaluation.slices import Slice, slices_of
from gzflow.export.readable import READERS, ReadableCatalogue
from gzflow.settings import Settings
from gzflow.stages.carried import carried_columns
from gzflow.stages.export import find_run
from gzflow.stages.release_check import PROVENANCE
from gzflow.surveys import survey_names
from gzflow.tree import DecisionTree, Question

ASKED = 0.5
ALL = "all"
CHANGED = "changed"
MISSING = ("only in the first", "only in the second")
_TOLD = ("survey", "model_uri", "run_id", "training_fingerprint", "shard_fingerprint", "samples", "seed", "precision",
         "interval_level", "created_by")  # fmt: skip
_ROWS = pa.schema(
    [(name, pa.string()) for name in ("id_str", "what", "question", "answer")]
    + [(name, pa.float64()) for name in ("ra", "dec")]
    + [
        (f"{name}_{side}", pa.float32())
        for side in ("first", "second")
        for name in ("fraction", "lower", "upper", "proportion-asked")
    ]
    + [("change", pa.float32())]
)


@dataclass(frozen=True)
class DiffOptions:
    """What to compare, and what to write.

    Attributes
    ----------
    first, second
        A prediction run's folder, a release's folder, a file of `gzflow export` in any format, ``SURVEY/RUN`` (a run's
        name or its first characters), or ``SURVEY`` for its latest run.
    asked
        A question counts for a galaxy of which one catalogue or the other expects at least this share of volunteers to
        be asked it.
    by
        Columns to slice by; empty: the split and all that the survey carries.
    rows
        A ``.parquet`` or ``.csv`` file to write: a line an answer that changed, and a line a galaxy that one of them
        lacks.
    picture
        A file to write, in the format that its name ends in.
    """

    first: str
    second: str
    asked: float = ASKED
    by: tuple[str, ...] = ()
    rows: Path | None = None
    picture: Path | None = None


@dataclass(frozen=True)
class CatalogueDiff:
    """What changed.

    Attributes
    ----------
    first, second
        The folders or files.
    n_first, n_second, n_both
        Galaxies in each, and in both.
    facts
        What the catalogues say differently of themselves: name, first, second.
    questions
        In the tree's order.
    slices
        Of `EVERYTHING` and of each question; the variable `ALL` is no slice.
    notes
        What could not be compared, and why.
    """

    first: Path
    second: Path
    n_first: int
    n_second: int
    n_both: int
    facts: tuple[tuple[str, str, str], ...]
    questions: tuple[QuestionChange, ...]
    slices: tuple[SliceChange, ...]
    notes: tuple[str, ...]

    def sentence(self) -> str:
        """The accounting, in one line for people."""
        return (
            f"{self.n_first:,} galaxies in the first and {self.n_second:,} in the second: {self.n_both:,} in both,"
            f" {self.n_first - self.n_both:,} only in the first, {self.n_second - self.n_both:,} only in the second"
        )


def diff(options: DiffOptions, settings: Settings) -> CatalogueDiff:
    """The changes from one catalogue to another, question by question: memory holds one question at a time.

    Raises
    ------
    ExportError
        No such catalogue, ids that stand twice, or nothing to compare.
    EvaluationError
        Pictures have no such format.
    """
    _check(options)
    first, second = (_open(reference, settings) for reference in (options.first, options.second))
    questions, notes = _common(first.tree, second.tree)
    pairs = _paired(first, second)
    n = len(pairs[0])
    slices = _slices(second, pairs[1], options, settings)
    found: list[QuestionChange] = []
    changes: list[SliceChange] = []
    anything, changed = np.zeros(n, bool), np.zeros(n, bool)
    with _rows_file(options.rows) as write:
        for question in questions:
            sides = [_estimates(one, question, kept) for one, kept in zip((first, second), pairs, strict=True)]
            one = moves(*sides, asked=options.asked)
            anything |= one.compared
            changed |= one.changed
            found.append(one.counted(question.name, question.answers))
            changes += slice_changes(question.name, one.compared, one.changed, slices)
            if write is not None:
                write(_changed(question, one, sides, second, pairs[1]))
        if write is not None:
            for what, catalogue, kept in zip(MISSING, (first, second), pairs, strict=True):
                write(_alone(what, catalogue, kept))
    result = CatalogueDiff(
        first=first.place,
        second=second.place,
        n_first=len(first.ids),
        n_second=len(second.ids),
        n_both=n,
        facts=tuple(_facts(first.provenance, second.provenance)),
        questions=tuple(found),
        slices=(*slice_changes(EVERYTHING, anything, changed, slices), *changes),
        notes=tuple(notes),
    )
    if options.picture is not None and result.slices:
        figure = changes_figure(
            result.slices,
            title=f"{second.place.name} against {first.place.name}",
            subtitle=f"% of galaxies with an answer that moved beyond its interval, where {options.asked:.0%} or more"
            f" would be asked;\n{n:,} galaxies in both",
        )
        write_bytes(options.picture, figure_writer(options.picture)(figure))
    return result


def _check(options: DiffOptions) -> None:
    if options.picture is not None:
        figure_writer(options.picture)
    problems = []
    if not 0 <= options.asked <= 1:
        problems.append(f"a share of {options.asked} asked is not between 0 and 1")
    if options.rows is not None and options.rows.suffix not in {".parquet", ".csv"}:
        problems.append(f"rows are written as .parquet or .csv, not as {options.rows.name}")
    if problems:
        raise ExportError("the options cannot be", problems=problems, expected="as --asked 0.5 --rows changed.parquet")


def _open(reference: str, settings: Settings) -> ReadableCatalogue:
    place = Path(reference)
    if (place / PROVENANCE).is_file():
        files = json.loads((place / PROVENANCE).read_text("utf-8"))["catalogue"]
        quickest = min(files, key=lambda name: [name.endswith(suffix) for suffix in READERS].index(True))
        return ReadableCatalogue.open(place / quickest)
    if place.exists():
        return ReadableCatalogue.open(place)
    survey, _, run = reference.partition("/")
    if survey not in survey_names() and not (survey and settings.predictions(survey).is_dir()):
        raise ExportError(
            f"there is no catalogue {reference!r}",
            expected="the folder of a prediction run or of a release, a file of `gzflow export`, SURVEY/RUN or SURVEY",
            fix=f"look into {settings.predictions('SURVEY')} for runs",
        )
    return ReadableCatalogue.open(find_run(survey, run or None, settings))


def _common(first: DecisionTree, second: DecisionTree) -> tuple[list[Question], list[str]]:
    """Questions that both have with the same answers, and what is left out."""
    known = {question.name: question.answers for question in first.questions}
    both = [question for question in second.questions if known.get(question.name) == question.answers]
    left_out = sorted({*known, *(question.name for question in second.questions)} - {q.name for q in both})
    if not both:
        raise ExportError(
            "the two catalogues have no question in common",
            problems=[f"{side}: {', '.join(q.name for q in tree.questions)}" for side, tree in
                      (("first", first), ("second", second))],
            expected="catalogues of one survey",
        )  # fmt: skip
    told = f"their trees differ; left out: {', '.join(left_out)}"
    return both, [told] if left_out else []


def _paired(first: ReadableCatalogue, second: ReadableCatalogue) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the galaxies that both have, in the second's order."""
    frames = [pl.DataFrame({"id_str": one.ids}, schema={"id_str": pl.String}) for one in (first, second)]
    for catalogue, frame in zip((first, second), frames, strict=True):
        if doubled := frame.filter(pl.col("id_str").is_duplicated())["id_str"].unique(maintain_order=True).to_list():
            raise ExportError(
                f"{len(doubled)} id{'s stand' if len(doubled) > 1 else ' stands'} in the catalogue twice or more",
                where=str(catalogue.place),
                problems=doubled[:5],
                expected="a row a galaxy",
            )
    one, other = (frame.with_row_index(name) for frame, name in zip(frames, ("i", "j"), strict=True))
    both = other.join(one, on="id_str", maintain_order="left")
    if both.is_empty():
        raise ExportError(
            "the two catalogues have no galaxy in common",
            problems=[f"such as {frame['id_str'][0]!r} in {side}" for frame, side in
                      zip(frames, ("the first", "the second"), strict=True) if len(frame)],
            expected="two catalogues of the same galaxies, joined on id_str",
        )  # fmt: skip
    return both["i"].to_numpy().astype(np.int64), both["j"].to_numpy().astype(np.int64)


def _slices(
    catalogue: ReadableCatalogue, rows: NDArray[np.int64], options: DiffOptions, settings: Settings
) -> list[Slice]:
    """All galaxies, then parts of them by what catalogue and survey say of them."""
    columns: dict[str, Sequence[Any]] = {}
    if "split" in catalogue.columns:
        columns["split"] = catalogue.read(["split"])["split"][rows].tolist()
    survey = catalogue.provenance.get("survey", "")
    columns |= carried_columns(survey, catalogue.ids[rows].tolist(), settings)
    if unknown := [name for name in options.by if name not in columns]:
        raise ExportError(
            f"galaxies cannot be told apart by {', '.join(unknown)}",
            where=f"the store's galaxies of {survey}, and the second catalogue",
            expected=f"one of {', '.join(columns)}"
            if columns
            else "a catalogue with `split`, or its survey ingested here",
        )
    cut = [Slice(ALL, f"{len(rows):,} galaxies", np.ones(len(rows), bool))]
    return cut + [part for name in options.by or columns for part in slices_of(name, columns[name])]


def _estimates(catalogue: ReadableCatalogue, question: Question, rows: NDArray[np.int64]) -> Estimates:
    share = f"{question.name}_proportion-asked"
    named = [f"{column}_{kind}" for kind in ("fraction", "lower", "upper") for column in question.columns]
    values = catalogue.read([share, *named])
    k = len(question.columns)
    table = np.stack([values[name][rows] for name in named], axis=1)
    return Estimates(table[:, :k], table[:, k : 2 * k], table[:, 2 * k :], values[share][rows])


def _changed(
    question: Question, found: Moves, sides: Sequence[Estimates], catalogue: ReadableCatalogue, rows: NDArray[np.int64]
) -> dict[str, Any]:
    """The answers that moved, galaxy by galaxy, as columns."""
    row, answer = np.nonzero(found.moved)
    columns = _positions(catalogue, rows[row]) | {
        "what": [CHANGED] * len(row),
        "question": [question.name] * len(row),
        "answer": np.array(question.answers, object)[answer],
        "change": (sides[1].fraction - sides[0].fraction)[row, answer],
    }
    for side, one in zip(("first", "second"), sides, strict=True):
        columns |= {f"{name}_{side}": getattr(one, name)[row, answer] for name in ("fraction", "lower", "upper")}
        columns[f"proportion-asked_{side}"] = one.asked[row]
    return columns


def _alone(what: str, catalogue: ReadableCatalogue, kept: NDArray[np.int64]) -> dict[str, Any]:
    """The galaxies that the other catalogue lacks."""
    rows = np.setdiff1d(np.arange(len(catalogue.ids)), kept)
    return _positions(catalogue, rows) | {"what": [what] * len(rows)}


def _positions(catalogue: ReadableCatalogue, rows: NDArray[np.int64]) -> dict[str, Any]:
    places = catalogue.read(["ra", "dec"])
    return {"id_str": catalogue.ids[rows]} | {name: values[rows] for name, values in places.items()}


@contextmanager
def _rows_file(path: Path | None) -> Iterator[Callable[[Mapping[str, Any]], None] | None]:
    """Writes tables to the file, which appears when all are in it; None without a file."""
    if path is None:
        yield None
        return
    with replacing(path) as temporary:
        kind = pq.ParquetWriter if path.suffix == ".parquet" else csv.CSVWriter
        with kind(temporary, _ROWS) as writer:

            def write(columns: Mapping[str, Any]) -> None:
                n = len(columns["id_str"])
                values = [columns[f.name] if f.name in columns else pa.nulls(n, f.type) for f in _ROWS]
                writer.write_table(pa.table([pa.array(v, f.type) for v, f in zip(values, _ROWS, strict=True)], _ROWS))

            yield write


def _facts(first: Mapping[str, str], second: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for name in dict.fromkeys((*first, *second)):
        one, other = first.get(name, ""), second.get(name, "")
        if name in _TOLD and one != other:
            yield name.replace("_", " "), one, other
