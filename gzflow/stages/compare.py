"""Compare two runs: what went in differently, and what came out, galaxy by galaxy where their scores are kept."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gzflow.durable import write_bytes
from gzflow.evaluation.comparison import PairedGain, paired_gains
from gzflow.evaluation.figures import figure_writer, paired_gains_figure
from gzflow.evaluation.selection import usual_floor
from gzflow.evaluation.slices import GalaxyScores
from gzflow.settings import Settings
from gzflow.stages.scoring import BY_QUESTION, SCORES
from gzflow.tracking.artifacts import read_artifact
from gzflow.tracking.logged_run import LoggedRun, find_run
from gzflow.tracking.run import PARENT_TAG
from gzflow.tree import DecisionTree

_TAGS = {
    "data": {"gzflow.tree_fingerprint": "tree", "gzflow.shard_fingerprint": "shards"},
    "code": {"gzflow.version": "gzflow", "gzflow.git_commit": "git commit", "gzflow.git_dirty": "uncommitted changes"},
    "parent": {"gzflow.kind": "kind", PARENT_TAG: "fine-tuned from"},
}


@dataclass(frozen=True)
class Difference:
    """One thing in which two runs differ; None where a run says nothing of it."""

    kind: str
    name: str
    first: str | None
    second: str | None


@dataclass(frozen=True)
class MetricPair:
    """One metric of both runs; None where a run does not have it."""

    name: str
    first: float | None
    second: float | None

    @property
    def same(self) -> bool:
        """Whether both runs say the same; an unknown number (NaN) is the same as another."""
        one, other = (None if value is None or math.isnan(value) else value for value in (self.first, self.second))
        return one == other


@dataclass(frozen=True)
class RunComparison:
    """Two runs side by side.

    Attributes
    ----------
    differences
        In parameters, data, code and parent; what is equal is left out.
    metrics
        Those that speak of the whole run; those of single questions are in `gains`.
    gains
        What the second gains over the first on the galaxies that both have scores of: the total, then one a question.
        Empty where there is nothing to compare.
    n_galaxies, floor
        Galaxies compared, and the fewest votes with which one counts for a question.
    notes
        Why some or all galaxies could not be compared.
    """

    first: LoggedRun
    second: LoggedRun
    differences: tuple[Difference, ...]
    metrics: tuple[MetricPair, ...]
    gains: tuple[PairedGain, ...]
    n_galaxies: int
    floor: int
    notes: tuple[str, ...]


def compare(first: str, second: str, settings: Settings, *, picture: Path | None = None) -> RunComparison:
    """Two runs side by side, and a picture of what the second gains if a file is named.

    Parameters
    ----------
    first, second
        Run ids (or their first characters), run names, or model versions: see `gzflow.tracking.logged_run.FORMS`.
    picture
        A file to write, in the format that its name ends in; left out when no galaxy can be compared.

    Raises
    ------
    EvaluationError
        Pictures have no such format.
    TrackingError
        No such run, or several.
    """
    drawn = figure_writer(picture) if picture is not None else None
    runs = find_run(settings, first), find_run(settings, second)
    gains, n_galaxies, floor, notes = _gains(*runs, settings)
    comparison = RunComparison(
        first=runs[0],
        second=runs[1],
        differences=tuple(_differences(*runs)),
        metrics=tuple(_metrics(*runs)),
        gains=gains,
        n_galaxies=n_galaxies,
        floor=floor,
        notes=tuple(notes),
    )
    if picture is not None and drawn is not None and gains:
        write_bytes(picture, drawn(paired_gains_figure(gains, names=(runs[0].name, runs[1].name), floor=floor)))
    return comparison


def _differences(first: LoggedRun, second: LoggedRun) -> list[Difference]:
    tables: list[tuple[str, Mapping[str, str], Mapping[str, str]]] = [
        ("parameters", first.params, second.params),
        ("data", {"survey": first.survey} | dict(first.datasets), {"survey": second.survey} | dict(second.datasets)),
        *((kind, _named(first.tags, names), _named(second.tags, names)) for kind, names in _TAGS.items()),
    ]
    return [
        Difference(kind, name, one.get(name), other.get(name))
        for kind, one, other in tables
        for name in dict.fromkeys((*one, *other))
        if one.get(name) != other.get(name)
    ]


def _named(tags: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    return {name: tags[key] for key, name in names.items() if key in tags}


def _metrics(first: LoggedRun, second: LoggedRun) -> list[MetricPair]:
    """Of the whole run: a metric of one question has its name behind a second slash."""
    names = sorted(name for name in {*first.metrics, *second.metrics} if name.count("/") < 2)
    return [MetricPair(name, first.metrics.get(name), second.metrics.get(name)) for name in names]


def _gains(
    first: LoggedRun, second: LoggedRun, settings: Settings
) -> tuple[tuple[PairedGain, ...], int, int, list[str]]:
    """The paired gains, galaxies compared, the vote floor, and notes."""
    tables, notes = [], []
    for run in (first, second):
        content = read_artifact(settings, run.id, SCORES)
        if content is None:
            notes.append(f"run {run.name} keeps no {SCORES}: its galaxies cannot be compared")
        else:
            tables.append(pl.read_parquet(io.BytesIO(content)))
    if len(tables) < 2:
        return (), 0, 0, notes
    tables = [_share(table, other.survey) for table, other in zip(tables, (second, first), strict=True)]
    questions = [
        name.removesuffix("_nll") for name in tables[0].columns if name.endswith("_nll") and name in tables[1].columns
    ]
    if not questions:
        return (), 0, 0, ["their trees have no question in common: no galaxy can be compared"]
    if len(questions) < max(sum(name.endswith("_nll") for name in table.columns) for table in tables):
        notes.append(f"their trees differ: the {len(questions)} questions that both have are compared")
    wanted = [f"{question}_{name}" for question in questions for name in BY_QUESTION]
    if any(name not in table.columns for table in tables for name in wanted):
        notes.append("a run of an earlier gzflow keeps likelihoods alone: agreement, MAE and coverage are not compared")
        tables = [
            table.with_columns(pl.lit(None, pl.Float64).alias(name) for name in wanted if name not in table.columns)
            for table in tables
        ]
    both = tables[0].join(tables[1], on="id_str", suffix="|second")
    same = pl.all_horizontal(pl.col(f"{name}_votes") == pl.col(f"{name}_votes|second") for name in questions)
    kept = both.filter(same & (pl.col("votes") > 0))
    # Of surveys learnt together, two may know the same id: by their votes, each row finds its own.
    one_sided = [table.join(other, on="id_str", how="anti").height for table, other in (tables, reversed(tables))]
    for dropped, why in (
        (one_sided[0], f"scored by {first.name} alone"),
        (one_sided[1], f"scored by {second.name} alone"),
        (tables[0].height - one_sided[0] - kept.height, "without votes, or with others than before"),
    ):
        if dropped:
            notes.append(f"{dropped:,} test galax{'ies are' if dropped > 1 else 'y is'} left out: {why}")
    if kept.is_empty():
        return (), 0, 0, [*notes, "no test galaxy is left that both were scored on"]
    totals = kept.select(f"{name}_votes" for name in questions).to_numpy()
    floor = usual_floor(totals, 10)
    one, other = (_scores(kept, questions, totals >= floor, suffix) for suffix in ("", "|second"))
    return paired_gains(one, other, questions), kept.height, floor, notes


def _share(table: pl.DataFrame, survey: str) -> pl.DataFrame:
    """Of the scores of surveys learnt together, one survey's galaxies with its questions as it names them itself.

    Scores without questions of that survey, or of the whole beside another whole, stay as they are.
    """
    mark = DecisionTree.joined_question(survey, "")
    own = {name: name.removeprefix(mark) for name in table.columns if name.startswith(mark)}
    if not own:
        return table
    galaxies = table.filter(pl.sum_horizontal(name for name in own if name.endswith("_votes")) > 0)
    return galaxies.select("id_str", "votes", "nll", "nll_constant", *own).rename(own)


def _scores(rows: pl.DataFrame, questions: Sequence[str], counted: NDArray[np.bool_], suffix: str) -> GalaxyScores:
    """What one run's `SCORES` tell; NaN where they do not."""

    def column(name: str) -> NDArray[np.float64]:
        return rows.select(f"{question}_{name}{suffix}" for question in questions).cast(pl.Float64).to_numpy()

    agrees, error, inside = map(column, BY_QUESTION)
    # What a constant would score is not compared.
    constant = np.full_like(agrees, np.nan)
    return GalaxyScores(counted, column("nll"), constant, inside=inside, agrees=agrees, error=error)
