"""The columns of a table file: only those that are wanted, under the names by which they are wanted."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from gzflow.errors import CatalogError, LossyIds

FORMATS = (".csv", ".csv.gz", ".parquet")
# What catalogs write for "no value"; all of them become NULL.
_NOTHING = ("", "nan", "null", "none", "na", "n/a", "--")
# A number that was an integer before it met a float: 587726016142835881.0, 5.87726016142836e+17.
_FLOAT_ID = r"^[+-]?(\d+\.0*|\d\.\d+[eE][+]?\d+)$"


def header(path: Path) -> list[str]:
    """Column names of a table file, in its order.

    Raises
    ------
    CatalogError
        No such file, another format, or not a table.
    """
    kind = _kind(path)
    with _readable(path):
        if kind == ".parquet":
            return list(pq.read_schema(path).names)
        with (
            path.open("rb") as stream,
            gzip.GzipFile(fileobj=stream) if kind == ".csv.gz" else nullcontext(stream) as content,
            io.TextIOWrapper(content, "utf-8-sig", newline="") as text,
        ):
            return next(csv.reader(text), [])


def resolve(wanted: Iterable[str], present: Collection[str]) -> dict[str, str]:
    """For each wanted name that a table has, the name it goes by there: the same, or one that differs in case only."""
    folded: dict[str, list[str]] = {}
    for name in present:
        folded.setdefault(name.strip().casefold(), []).append(name)
    found = {}
    for name in wanted:
        alike = folded.get(name.casefold(), [])
        if name in present:
            found[name] = name
        elif len(alike) == 1:
            found[name] = alike[0]
    return found


def near_matches(name: str, present: Collection[str]) -> str:
    """``" (did you mean a, b?)"``, or nothing."""
    near = get_close_matches(name, present, n=3, cutoff=0.8)
    return f" (did you mean {', '.join(near)}?)" if near else ""


def read_columns(path: Path, names: Mapping[str, str]) -> pl.DataFrame:
    """The columns `names` (wanted name -> name in the file), all of them text, or as typed in the Parquet file.

    Text cells are stripped of the blanks that FITS tables are padded with; empty cells and spellings of "no value"
    become NULL. Nothing is guessed from the text here: an id of 19 digits stays as it was written.
    """
    kind = _kind(path)
    own = list(dict.fromkeys(names.values()))
    with _readable(path):
        if kind == ".parquet":
            frame = pl.read_parquet(path, columns=own)
        else:
            frame = pl.read_csv(path, columns=own, infer_schema=False, encoding="utf8", truncate_ragged_lines=False)
    frame = frame.select(pl.col(there).alias(wanted) for wanted, there in names.items())
    return frame.with_columns(_cleaned(frame[name]) for name in frame.columns)


def as_ids(column: pl.Series, where: str) -> pl.Series:
    """Ids as text, exactly as they were written.

    Raises
    ------
    LossyIds
        The ids are floats or passed through one, so that digits may be lost.
    """
    if column.dtype.is_float():
        examples = column.drop_nulls().head(3).to_list()
        raise _lossy(f"the ids are stored as {column.dtype}", where, examples)
    text = _cleaned(column.cast(pl.String))
    floats = text.filter(text.str.contains(_FLOAT_ID).fill_null(value=False))
    if len(floats):
        raise _lossy(f"{len(floats):,} ids are written as floats", where, floats.head(3).to_list())
    return text


def as_numbers(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """(values, unreadable): float64 with NULL where there is none, and where text was found that is no number.

    True and false count as 1 and 0. NaN and NULL both mean "no value".
    """
    if column.dtype == pl.String:
        logical = column.str.to_lowercase().replace({"true": "1", "false": "0"})
        values = logical.cast(pl.Float64, strict=False)
        unreadable = column.is_not_null() & values.is_null()
    else:
        values = column.cast(pl.Float64, strict=False)
        unreadable = column.is_not_null() & values.is_null()
    return values.fill_nan(None), unreadable


def as_written(column: pl.Series) -> pl.Series:
    """Text as the type that all of it has: boolean, integer, float, else text.

    Whole numbers that would change when written again (leading zeros, more than 63 bits) stay text.
    """
    if column.dtype != pl.String or column.null_count() == len(column):
        return column
    values = column.drop_nulls()
    if values.str.to_lowercase().is_in(["true", "false"]).all():
        return column.str.to_lowercase() == "true"
    if values.str.contains(r"^-?(0|[1-9]\d*)$").all():
        integers = column.cast(pl.Int64, strict=False)
        return integers if integers.null_count() == column.null_count() else column
    floats = column.cast(pl.Float64, strict=False)
    exact = floats.null_count() == column.null_count() and not values.str.contains(r"^-?0\d").any()
    return floats if exact else column


def _cleaned(column: pl.Series) -> pl.Series:
    if column.dtype in (pl.Categorical, pl.Enum, pl.Binary):  # text of FITS tables often arrives as bytes
        column = column.cast(pl.String)
    if column.dtype != pl.String:
        return column
    stripped = column.str.strip_chars()
    nothing = stripped.str.to_lowercase().is_in(list(_NOTHING))
    return stripped.to_frame("text").select(pl.when(~nothing).then("text").alias(column.name)).to_series()


def _lossy(what: str, where: str, examples: list[object]) -> LossyIds:
    return LossyIds(
        what,
        where=f"{where}, for example {', '.join(str(example) for example in examples)}",
        expected="whole numbers or text: a float keeps 15 to 17 digits, and these ids may have 19",
        fix="write the table again from its source with this column as text or 64-bit integers; digits that a float"
        " dropped cannot be recovered",
    )


def _kind(path: Path) -> str:
    for kind in FORMATS:
        if path.name.lower().endswith(kind):
            return kind
    raise CatalogError(
        "this kind of table cannot be read",
        where=str(path),
        expected=f"a file that ends in {', '.join(FORMATS)}",
        fix="convert the table, for example with astropy.table.Table.read(...).write(...)",
    )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise CatalogError("there is no such catalog file", where=str(path), fix="check the path") from error
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, pl.exceptions.PolarsError, ValueError) as error:
        raise CatalogError(
            "the catalog file cannot be read as a table",
            where=str(path),
            expected=f"a whole {_kind(path)} file with a header line, text in UTF-8",
            fix=f"download it again or convert it; the reader says: {error}",
        ) from error
