"""Two catalogues of the same survey, in every form that keeps its tree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gzflow import load_survey
from gzflow.durable import write_json
from gzflow.errors import EvaluationError, ExportError
from gzflow.evaluation.changes import QuestionChange
from gzflow.prediction.export import part_table, write_part
from gzflow.prediction.predict import PredictionPart
from gzflow.settings import Settings
from gzflow.stages.diff import ALL, MISSING, DiffOptions, diff
from gzflow.stages.export import ExportOptions, export
from gzflow.tree import DecisionTree

TREE = load_survey("decals").tree
N = 60
MOVED = 25


def run_of(folder: Path, ids: list[str], alpha: np.ndarray, tree: DecisionTree = TREE, **facts: str) -> Path:
    half = len(ids) // 2
    entries = []
    for split, rows in (("train", slice(0, half)), ("test", slice(half, None))):
        n = len(ids[rows])
        part = PredictionPart(ids[rows], np.arange(n, dtype=float), np.zeros(n), alpha[rows])
        name = f"part-{split}-00000.parquet"
        metadata = {"survey": "decals", "split": split, "seed": 42, **facts}
        write_part(folder / name, part_table(part, tree, metadata, keep_concentrations=True))
        entries.append({"file": name, "n": n, "split": split})
    write_json(folder / "manifest.json", {"entries": entries})
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path, Path]:
    """Two runs: the second knows five other galaxies, in another order, and sees `MOVED` of them as featured."""
    settings = Settings.load({}, home=tmp_path_factory.mktemp("diff") / "home")
    alpha = np.full((N, 2, len(TREE.answers)), 20.0, np.float32)
    alpha[:, :, 0] = 100
    changed = alpha.copy()
    changed[:MOVED, :, 0], changed[:MOVED, :, 1] = 20, 100
    home = settings.predictions("decals")
    first = run_of(home / "v1-aaaa", [f"g{i}" for i in range(N)], alpha, model_uri="models:/gzflow-decals/1")
    ids = [f"g{i}" for i in range(N - 5)] + [f"new{i}" for i in range(5)]
    order = np.random.default_rng(1).permutation(N)
    second = run_of(home / "v2-bbbb", [ids[i] for i in order], changed[order], model_uri="models:/gzflow-decals/2")
    return settings, first, second


def test_what_changed_is_counted_and_every_galaxy_accounted_for(runs, tmp_path: Path) -> None:
    settings, first, second = runs
    rows, picture = tmp_path / "changed.parquet", tmp_path / "changed.png"
    found = diff(DiffOptions("decals/v1", str(second), rows=rows, picture=picture), settings)
    assert found.first == first
    assert (found.n_first, found.n_second, found.n_both) == (N, N, N - 5)
    assert "5 only in the first, 5 only in the second" in found.sentence()
    assert ("model uri", "models:/gzflow-decals/1", "models:/gzflow-decals/2") in found.facts
    smooth = found.questions[0]
    assert (smooth.question, smooth.n, smooth.n_changed) == ("smooth-or-featured", N - 5, MOVED)
    assert smooth.other_first == MOVED / (N - 5)
    # Where more than half are called smooth, its roundness is asked: of all in the first catalogue.
    roundness = next(entry for entry in found.questions if entry.question == "how-rounded")
    assert (roundness.n, roundness.n_changed) == (N - 5, 0)
    assert next(entry for entry in found.questions if entry.question == "disk-edge-on").n == MOVED
    parts = {entry.label: entry for entry in found.slices if entry.question == "any question"}
    assert [entry.variable for entry in parts.values()] == [ALL, "split", "split"]
    assert parts["train"].n_changed + parts["test"].n_changed == MOVED
    table = pl.read_parquet(rows)
    changed = table.filter(pl.col("what") == "changed")
    assert set(changed["id_str"]) == {f"g{i}" for i in range(MOVED)}
    assert changed.height == 2 * MOVED
    smooth_rows = changed.filter(pl.col("answer") == "smooth")
    assert (smooth_rows["upper_second"] < smooth_rows["lower_first"]).all()
    np.testing.assert_allclose(
        smooth_rows["change"], smooth_rows["fraction_second"] - smooth_rows["fraction_first"], rtol=1e-5
    )
    assert set(table.filter(pl.col("what") == MISSING[0])["id_str"]) == {f"g{i}" for i in range(N - 5, N)}
    assert set(table.filter(pl.col("what") == MISSING[1])["id_str"]) == {f"new{i}" for i in range(5)}
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("suffix", ["parquet", "fits", "vot", "csv", "csv.gz", "hdf5"])
def test_an_exported_file_stands_for_its_run(runs, tmp_path: Path, suffix: str) -> None:
    settings, first, second = runs
    file = tmp_path / f"one.{suffix}"
    export(ExportOptions("decals", file, run=str(first), log=False), settings)
    rows = tmp_path / "changed.csv"
    found = diff(DiffOptions(str(file), str(second), rows=rows), settings)
    assert (found.questions[0].n, found.questions[0].n_changed) == (N - 5, MOVED)
    assert pl.read_csv(rows).filter(pl.col("what") == "changed").height == 2 * MOVED
    alike = diff(DiffOptions(str(file), str(first)), settings)
    assert not any(entry.n_changed for entry in alike.questions)
    assert max(entry.distance for entry in alike.questions if entry.n) < 1e-6
    assert [entry.n for entry in alike.questions] == [entry.n for entry in found_again(first, settings)]


def found_again(run: Path, settings: Settings) -> tuple[QuestionChange, ...]:
    return diff(DiffOptions(str(run), str(run)), settings).questions


def test_a_catalogue_does_not_differ_from_itself(runs) -> None:
    settings, first, _ = runs
    found = diff(DiffOptions(str(first), str(first)), settings)
    assert (found.n_both, found.facts) == (N, ())
    assert all((entry.n_changed, entry.distance) == (0, 0) for entry in found.questions if entry.n)


def test_only_questions_of_both_trees_are_compared(runs, tmp_path: Path) -> None:
    settings, first, _ = runs
    tree = DecisionTree(TREE.questions[:1])
    ids = [f"g{i}" for i in range(N)]
    other = run_of(tmp_path / "other", ids, np.full((N, 2, len(tree.answers)), 9.0, np.float32), tree)
    found = diff(DiffOptions(str(first), str(other)), settings)
    assert [entry.question for entry in found.questions] == ["smooth-or-featured"]
    assert "left out: bar, bulge-size" in found.notes[0]


def test_what_cannot_be_compared_says_why(runs, tmp_path: Path) -> None:
    settings, first, second = runs
    alpha = np.full((4, 2, len(TREE.answers)), 9.0, np.float32)
    strangers = run_of(tmp_path / "strangers", list("abcd"), alpha)
    doubled = run_of(tmp_path / "doubled", ["g1", "g1", "g2", "g3"], alpha)
    (tmp_path / "plain.csv").write_text("id_str\n1\n")
    for one, said in (
        (strangers, "no galaxy in common"),
        (doubled, "1 id stands in the catalogue twice"),
        (tmp_path / "plain.csv", "no catalogue that can be read back"),
        (tmp_path / "absent", "there is no catalogue"),
        (tmp_path, "no finished catalogue"),
    ):
        with pytest.raises(ExportError, match=said):
            diff(DiffOptions(str(first), str(one)), settings)
    with pytest.raises(ExportError, match=r"told apart by redshift(.|\n)*one of split"):
        diff(DiffOptions(str(first), str(second), by=("redshift",)), settings)
    with pytest.raises(EvaluationError, match=r"cannot be written as a\.gif"):
        diff(DiffOptions(str(first), str(second), picture=tmp_path / "a.gif"), settings)
    with pytest.raises(ExportError) as caught:
        diff(DiffOptions(str(first), str(second), asked=2, rows=tmp_path / "a.txt"), settings)
    assert len(caught.value.problems) == 2
