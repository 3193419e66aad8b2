"""A catalog read in parts is the catalog read at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gzflow import load_survey
from gzflow.catalog.read import CatalogTable, read_catalog, spool_catalog
from gzflow.catalog.spool import CatalogSpool
from gzflow.errors import CatalogError, DiskError, DuplicateIds, EmptyCatalog, VotesDisagree
from gzflow.surveys import Survey

Make = Callable[..., Survey]
Row = Callable[..., dict[str, object]]
Table = Callable[..., Path]
POSITION = 'dec = "dec"'


def same(one: CatalogTable, other: CatalogTable) -> bool:
    frames = one.galaxies.equals(other.galaxies) and one.votes.equals(other.votes)
    rest = ("n_read", "n_filtered", "rounding_residual", "notes", "source")
    return (
        frames
        and set(one.failures) == set(other.failures)
        and all(getattr(one, name) == getattr(other, name) for name in rest)
        and set(one.filtered_ids) == set(other.filtered_ids)
    )


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([None, "3.5", "-91", "north"]),
            st.sampled_from([None, "original", "extra"]),
            st.sampled_from(["5", "6", "-1", "", "x"]),
            st.sampled_from(["1", "007", "2.5", "true", "", "y"]),
            st.sampled_from(["", "17", "18.5", "-inf"]),
        ),
        min_size=1,
        max_size=6,
    ),
    step=st.integers(1, 5),
    name=st.sampled_from(["catalog.csv", "catalog.parquet"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=15)
def test_parts_of_any_size_make_the_same_catalog(
    survey: Make, row: Row, table: Table, rows: list[tuple[str | None, ...]], step: int, name: str
) -> None:
    chosen = survey(
        (
            POSITION,
            POSITION + '\ncarry = ["note", "mag"]\nwhere = "sample = \'original\' AND (mag IS NULL OR mag < 18)"',
        )
    )
    sound = [row(f"sound-{i}", sample="original", note="1", mag="17.5") for i in range(len(rows) + 1)]
    odd = [
        row(f"odd-{i}", dec=dec, sample=sample, disk_total=n, note=note, mag=mag)
        for i, (dec, sample, n, note, mag) in enumerate(rows)
    ]
    path = table(*sound, *odd, name=name)
    whole = read_catalog(chosen, path)
    assert same(read_catalog(chosen, path, rows=step), whole)
    with spool_catalog(chosen, path, folder=path.parent / "waiting", rows=step) as spool:
        parts = list(spool.parts())
        assert pl.concat([galaxies for galaxies, _ in parts]).sort("id_str").equals(whole.galaxies.sort("id_str"))
        assert pl.concat([votes for _, votes in parts]).sort("id_str").equals(whole.votes.sort("id_str"))
        assert {failure for some in spool.failed() for failure in some} == set(whole.failures)
        assert set(whole.filtered_ids) <= {i for some in spool.left_out() for i in some}
        assert (spool.n_read, spool.n_filtered, spool.notes) == (whole.n_read, whole.n_filtered, whole.notes)


def test_a_column_has_one_type_in_all_parts(survey: Make, row: Row, table: Table) -> None:
    """The first part alone would be whole numbers, the last one text."""
    carrying = survey((POSITION, POSITION + '\ncarry = ["a", "b"]'))
    path = table(row("x", a="1", b="1"), row("y", a="2.5", b="2"), row("z", a="", b="many"))
    found = read_catalog(carrying, path, rows=1).galaxies["carried"]
    assert [json.loads(text) for text in found] == [
        {"a": 1.0, "b": "1"},
        {"a": 2.5, "b": "2"},
        {"a": None, "b": "many"},
    ]


def test_numbers_and_text_of_different_parts_are_not_compared(survey: Make, row: Row, table: Table) -> None:
    chosen = survey((POSITION, POSITION + '\nwhere = "mag < 17.5"'))
    path = table(row("a", mag="9"), row("b", mag="17"), row("c", mag="bright"))
    with pytest.raises(CatalogError, match="mag: 2 numbers and 1 texts, for example bright"):
        read_catalog(chosen, path, rows=1)


@given(first=st.integers(0, 30), second=st.integers(0, 30), step=st.integers(6, 31))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=8)
def test_an_id_that_stands_in_two_parts_is_found(
    survey: Make, row: Row, table: Table, first: int, second: int, step: int
) -> None:
    names = [f"g{i}" for i in range(31)]
    names[second] = names[first]
    path = table(*(row(name) for name in names))
    if first == second:
        assert len(read_catalog(survey(), path, rows=step).galaxies) == 31
        return
    for reader in (read_catalog, partial(spool_catalog, folder=path.parent)):
        with pytest.raises(DuplicateIds, match="1 ids stand in more than one row"):
            reader(survey(), path, rows=step)


def test_an_unusable_row_has_its_id_all_the_same(survey: Make, row: Row, table: Table) -> None:
    path = table(row("a"), row("b"), row("a", dec=99))
    with pytest.raises(DuplicateIds), spool_catalog(survey(), path, folder=path.parent, rows=1):
        pass


def test_a_part_may_disagree_where_the_whole_does_not(survey: Make, row: Row, table: Table) -> None:
    sound = [row(f"s{i}") for i in range(10)]
    found = read_catalog(survey(), table(row("a", disk_total=9), *sound), rows=1)
    assert [(failure.id_str, failure.reason) for failure in found.failures] == [("a", "votes-disagree")]
    with pytest.raises(VotesDisagree, match="in 6 of 11 rows"):
        read_catalog(survey(), table(*(row(f"a{i}", disk_total=9) for i in range(6)), *sound[:5]), rows=2)


def test_a_part_may_be_left_out_whole(survey: Make, row: Row, table: Table) -> None:
    chosen = survey((POSITION, POSITION + "\nwhere = \"sample = 'original'\""))
    path = table(row("a", sample="x"), row("b", sample="original"), row("c", sample="y"))
    assert read_catalog(chosen, path, rows=1).n_filtered == 2
    with pytest.raises(EmptyCatalog, match="keeps none of 2 rows") as caught:
        read_catalog(chosen, table(row("a", sample="x"), row("c", sample="y")), rows=1)
    assert "sample is x, y" in str(caught.value)


def test_rows_without_id_are_named_by_their_place_in_the_file(survey: Make, row: Row, table: Table) -> None:
    found = read_catalog(survey(), table(row("a"), row(None), row("b"), row("  ")), rows=2)
    assert [failure.id_str for failure in found.failures] == ["row 2 of catalog.csv", "row 4 of catalog.csv"]


def test_values_that_mean_none_in_a_survey(survey: Make, row: Row, table: Table) -> None:
    chosen = survey((POSITION, POSITION + '\ncarry = ["z", "mu"]\nmissing = { z = 999.0, "*" = [-999.0, "unknown"] }'))
    path = table(row("a", z="999", mu="-inf"), row("b", z=0.5, mu="unknown", ra=-999), row("c", z=-999.0, mu=20.5))
    found = read_catalog(chosen, path).galaxies
    assert [json.loads(text) for text in found["carried"]] == [
        {"z": None, "mu": None}, {"z": 0.5, "mu": None}, {"z": None, "mu": 20.5},
    ]  # fmt: skip
    assert found["ra"].to_list() == [10.0, None, 10.0]


@pytest.mark.parametrize("step", [1000, 19_761])
def test_a_real_table_in_parts(shared_data: Path, step: int) -> None:
    source = shared_data / "gz2_stripe82" / "table5.csv.gz"
    survey = load_survey(Path(__file__).parents[2] / "gzflow" / "surveys" / "gz2_stripe82.toml")
    chosen = survey.model_copy(update={"catalog": survey.catalog.model_copy(update={"where": None, "carry": ("ra",)})})
    whole = read_catalog(chosen, source)
    assert len(whole.galaxies) + whole.n_failed == 19_761
    assert same(read_catalog(chosen, source, rows=step), whole)


def test_a_full_disk_is_said_with_the_folder(
    survey: Make, row: Row, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table(row("a"))

    def fill(self: CatalogSpool, what: str, part: int) -> Path:
        return Path("/dev/full")

    monkeypatch.setattr(CatalogSpool, "_file", fill)
    with (
        pytest.raises(DiskError, match="cannot wait on disk") as caught,
        spool_catalog(survey(), path, folder=path.parent),
    ):
        pass
    assert "No space left on device" in str(caught.value)
    assert "GZFLOW_HOME" in str(caught.value)


def test_the_waiting_rows_leave_with_the_reader(survey: Make, row: Row, table: Table, tmp_path: Path) -> None:
    waiting = tmp_path / "waiting"
    with spool_catalog(survey(), table(row("a")), folder=waiting):
        assert len(list(waiting.glob("rows-*"))) == 1
    with pytest.raises(DuplicateIds):
        spool_catalog(survey(), table(row("a"), row("a")), folder=waiting)
    assert not list(waiting.glob("rows-*"))


def test_what_a_killed_reader_left_is_removed_and_no_running_readers_rows(
    survey: Make, row: Row, table: Table, tmp_path: Path
) -> None:
    waiting, path = tmp_path / "waiting", table(row("a"))
    (waiting / "rows-killed").mkdir(parents=True)
    (waiting / "rows-killed" / "galaxies-00000.parquet").write_bytes(b"half")
    with spool_catalog(survey(), path, folder=waiting) as first:
        assert not (waiting / "rows-killed").exists()
        with spool_catalog(survey(), path, folder=waiting):
            assert len(list(waiting.glob("rows-*"))) == 2
        assert len(list(first.parts())) == 1


def test_a_missing_value_of_a_column_that_is_not_read_is_said(survey: Make, row: Row, table: Table) -> None:
    chosen = survey((POSITION, POSITION + '\ncarry = ["Z_BEST"]\nmissing = { z_best = 999.0, "*" = -9.0 }'))
    found = read_catalog(chosen, table(row("a", Z_BEST=999.0)))
    assert found.notes == ("[catalog] missing names 'z_best', which the survey does not read (did you mean Z_BEST?)",)
