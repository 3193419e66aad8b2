from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gzflow import load_survey
from gzflow.catalog.published import published_parts, read_published
from gzflow.errors import CatalogError, DuplicateIds, MissingColumns
from gzflow.surveys import Survey

Make = Callable[..., Survey]
ANSWERS = ("disk_yes", "disk_no", "bar_strong", "bar_weak", "bar_no")


def concentrations(n: int = 4, draws: int = 3, **changes: list[object]) -> pl.DataFrame:
    alpha = 1 + np.random.default_rng(0).random((n, draws, len(ANSWERS))) * 20
    cells = {
        f"{a}_concentration": [json.dumps(v.round(4).tolist()) for v in alpha[:, :, i]] for i, a in enumerate(ANSWERS)
    }
    sky = {"name": [f"g{i}" for i in range(n)], "ra": [10.0] * n, "dec": [-5.0] * n}
    return pl.DataFrame(sky | cells | changes, strict=False)


def written(frame: pl.DataFrame, folder: Path, name: str = "published.csv") -> Path:
    path = folder / name
    frame.write_parquet(path) if name.endswith(".parquet") else frame.write_csv(path)
    return path


def test_the_real_catalogue_gives_its_own_fractions_back(shared_data: Path) -> None:
    path = shared_data / "gz_samples/galaxy_zoo_decals/gz_decals_auto_posteriors.csv"
    tree = load_survey("decals").tree
    found = read_published(load_survey("decals"), path)
    assert (found.kind, found.values.shape, found.problems) == ("concentration", (6, 25, 34), ())
    assert found.ids[0] == "J075543.11+213131.1"
    assert found.ra[0] == pytest.approx(118.928652)
    raw = pl.read_csv(path)
    theirs = raw.select(f"{answer}_fraction" for answer in tree.answers).to_numpy()
    assert np.abs(found.fractions(tree) - theirs).max() < 1e-6
    assert found.values[0, 0, 0] == np.float32(49.1831)


def test_the_same_from_csv_and_parquet_whole_and_in_parts(survey: Make, tmp_path: Path) -> None:
    frame = concentrations(9)
    names = [name for name in frame.columns if name.endswith("_concentration")]
    lists = frame.with_columns(pl.col(name).str.json_decode(pl.List(pl.Float64)) for name in names)
    whole = read_published(survey(), written(frame, tmp_path))
    again = read_published(survey(), written(lists, tmp_path, "published.parquet"))
    parts = list(published_parts(survey(), written(frame, tmp_path), rows=2))
    assert np.array_equal(whole.values, again.values)
    assert np.array_equal(whole.values, np.concatenate([part.values for part in parts]))
    assert whole.ids == again.ids == tuple(name for part in parts for name in part.ids)
    assert max(len(part.ids) for part in parts) <= 2


def test_a_question_that_is_irrelevant_is_nan_and_stays_nan(survey: Make, tmp_path: Path) -> None:
    empty = dict.fromkeys(("bar_strong_concentration", "bar_weak_concentration", "bar_no_concentration"))
    frame = concentrations(2)
    for name in empty:
        frame = frame.with_columns(pl.Series(name, [None, frame[name][1]], dtype=pl.String))
    found = read_published(survey(), written(frame, tmp_path))
    shares = found.fractions(survey().tree)
    assert np.isnan(shares[0]).tolist() == [False, False, True, True, True]
    assert not np.isnan(shares[1]).any()
    assert np.allclose(shares[1, :2].sum(), 1)


@pytest.mark.parametrize("cell", ["[1.5, 2.5]", "[1.5, x, 2.5]", "[1.5, -2, 2.5]", "[1.5, 2.5, 3.5", "", "[0, 1, 2]"])
def test_a_broken_cell_is_a_problem_of_its_row(survey: Make, tmp_path: Path, cell: str) -> None:
    frame = concentrations(3)
    column = pl.Series("disk_no_concentration", [cell, *frame["disk_no_concentration"][1:]])
    found = read_published(survey(), written(frame.with_columns(column), tmp_path))
    assert found.ids == ("g1", "g2")
    assert [name for name, _ in found.problems] == ["g0"]


def test_fractions_are_one_draw(survey: Make, tmp_path: Path) -> None:
    shares = dict(
        zip(
            (f"{a}_fraction" for a in ANSWERS),
            ([0.25, 1.5], [0.75, 0.5], [0.5, 0.1], [0.25, 0.1], [0.25, 0.8]),
            strict=True,
        )
    )
    frame = pl.DataFrame({"name": ["a", "b"], "ra": [1.0, 2.0], "dec": [3.0, 4.0]} | shares)
    found = read_published(survey(), written(frame, tmp_path))
    assert found.kind == "fraction"
    assert found.values.tolist() == [[[0.25, 0.75, 0.5, 0.25, 0.25]]]
    assert found.fractions(survey().tree).tolist() == [[0.25, 0.75, 0.5, 0.25, 0.25]]
    assert found.problems[0][0] == "b"


def test_what_cannot_be_compared_is_refused(survey: Make, tmp_path: Path) -> None:
    frame = concentrations(3)
    with pytest.raises(MissingColumns, match="lacks 1 column") as caught:
        read_published(survey(), written(frame.drop("bar_no_concentration"), tmp_path))
    assert "'bar_no_concentration'" in str(caught.value)
    with pytest.raises(DuplicateIds, match="1 ids"):
        read_published(survey(), written(frame.with_columns(name=pl.Series(["a", "a", "b"])), tmp_path))
    with pytest.raises(CatalogError, match="cannot be read"):
        read_published(survey(), written(frame.with_columns(disk_yes_concentration=pl.lit("none of them")), tmp_path))
