from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gzflow.catalog.columns import as_ids, as_numbers, header, near_matches, read_columns, resolve
from gzflow.catalog.written import WrittenType
from gzflow.errors import CatalogError, LossyIds

BIG = 8_647_474_690_312_307_154  # 19 digits, not a float


def test_header_of_every_format(tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": ["a"], "with, comma": [1]})
    frame.write_csv(tmp_path / "t.csv")
    frame.write_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "t.csv").read_bytes())
    for name in ("t.csv", "t.parquet", "t.csv.gz", "bom.csv"):
        assert header(tmp_path / name) == ["id", "with, comma"]
        read = read_columns(tmp_path / name, {"n": "with, comma", "key": "id"})
        assert read.columns == ["n", "key"]
        assert read.cast(pl.String).rows() == [("1", "a")]


def test_only_the_wanted_columns_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n1,2,3\n")
    assert read_columns(path, {"B": "b"}).rows() == [("2",)]


def test_one_column_under_two_names(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    assert read_columns(path, {"x": "a", "y": "a"}).rows() == [("1", "1")]


def test_text_loses_padding_and_spellings_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('id,v\n"  AEGIS  ",NaN\nx, \ny,null\nz,--\n')
    assert read_columns(path, {"id": "id", "v": "v"}).rows() == [("AEGIS", None), ("x", None), ("y", None), ("z", None)]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "t.parquet", "cannot be read as a table"),
        (b"PAR1 no", "t.parquet", "cannot be read as a table"),
        (b"id,v\n1,2,3\n", "t.csv", "cannot be read as a table"),
        (b"id,v\n\xff\xfe,2\n", "t.csv", "cannot be read as a table"),
        (b"id,v\n1,2\n", "t.csv.gz", "cannot be read as a table"),
        (gzip.compress(b"id,v\n1,2\n" * 1000, mtime=0)[:30], "t.csv.gz", "cannot be read as a table"),
        (b"id,v\n1,2\n", "t.fits", "cannot be read as a table"),
        (b"id,v\n1,2\n", "t.vot", "cannot be read as a table"),
        (b"<a><b/></a>", "t.vot", "no VOTABLE"),
        (gzip.compress(b"id,v\n1,2\n" * 100_000, mtime=0)[:-9], "t.csv.gz", "cannot be read as a table"),
        (b"id;v\n1;2\n", "t.csv", "separated by semicolons"),
        (b"id\tv\n1\t2\n", "t.csv", "separated by tabs"),
        (b"id,v\n1,2\n", "t.xlsx", "this kind of table cannot be read"),
    ],
)
def test_files_that_are_no_tables_are_refused(tmp_path: Path, content: bytes, name: str, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    def read() -> None:
        header(path)
        read_columns(path, {"id": "id", "v": "v"})

    with pytest.raises(CatalogError, match=message) as caught:
        read()
    assert str(path) in str(caught.value)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no such catalog file"):
        header(tmp_path / "nothing.csv")


def test_names_resolve_exactly_or_but_for_case_when_that_is_unambiguous() -> None:
    assert resolve(["RA", "b", "x"], ["ra", "b", "B"]) == {"RA": "ra", "b": "b"}
    assert resolve(["X"], ["x ", "y"]) == {"X": "x "}
    assert resolve(["X"], ["x", " x"]) == {}


def test_near_matches_help() -> None:
    assert near_matches("petro_th_50", ["petro_th50", "ra"]) == " (did you mean petro_th50?)"
    assert near_matches("petro_th50", ["ra"]) == ""


@given(st.integers(-(2**63), 2**63 - 1))
def test_integer_ids_keep_every_digit(value: int) -> None:
    assert as_ids(pl.Series([value], dtype=pl.Int64), "here").to_list() == [str(value)]


@pytest.mark.parametrize("text", ["587726016142835881.0", "5.87726016142836e+17", "8.6474747E18", "12."])
def test_ids_that_met_a_float_are_refused(text: str) -> None:
    with pytest.raises(LossyIds, match="1 ids are written as floats") as caught:
        as_ids(pl.Series(["a", text]), "column 'objid'")
    assert text in str(caught.value)
    assert "column 'objid'" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["J081412.47+220853.0", "COS_1", "5249ce0c3ae74072a3003b44", "52490e10", "007", str(BIG)]
)
def test_other_ids_stay_as_they_are(text: str) -> None:
    assert as_ids(pl.Series([f" {text} "]), "here").to_list() == [text]


def test_float_columns_are_refused_even_without_a_fraction() -> None:
    with pytest.raises(LossyIds, match="stored as Float64") as caught:
        as_ids(pl.Series([1.0, None]), "here")
    assert "64-bit integers" in str(caught.value)


def test_categorical_ids_are_text() -> None:
    assert as_ids(pl.Series(["a", "b"], dtype=pl.Categorical), "here").to_list() == ["a", "b"]


def test_numbers_from_text_and_types() -> None:
    values, bad = as_numbers(pl.Series(["1", "2.5", "True", "false", "-1e3", None, "twelve"]))
    assert values.to_list() == [1.0, 2.5, 1.0, 0.0, -1000.0, None, None]
    assert bad.to_list() == [False] * 6 + [True]
    for column in (pl.Series([1, None]), pl.Series([1.0, float("nan")]), pl.Series([True, None])):
        values, bad = as_numbers(column)
        assert values.to_list() == [1.0, None]
        assert not bad.any()


@pytest.mark.parametrize(
    ("texts", "dtype", "values"),
    [
        (["True", "false", None], pl.Boolean, [True, False, None]),
        (["1", "-20", None], pl.Int64, [1, -20, None]),
        ([str(BIG)], pl.Int64, [BIG]),
        (["1.5", "2", "-1e3"], pl.Float64, [1.5, 2.0, -1000.0]),
        (["007", "1"], pl.String, ["007", "1"]),
        (["9" * 20], pl.String, ["9" * 20]),
        (["1", "x"], pl.String, ["1", "x"]),
        ([None, None], pl.String, [None, None]),
    ],
)
def test_text_gets_the_type_that_all_of_it_has(
    texts: list[str | None], dtype: pl.DataType, values: list[object]
) -> None:
    written = pl.Series(texts, dtype=pl.String)
    column = WrittenType.of(written).applied(written)
    if texts == ["9" * 20]:  # more digits than any integer type holds: kept as text, not rounded
        assert column.to_list() == texts
        return
    assert column.dtype == dtype
    assert column.to_list() == values
