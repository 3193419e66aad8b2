"""The columns of a table file: only those that are wanted, under the names by which they are wanted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import polars as pl

from gzflow.catalog.tables import readable, table_file
from gzflow.errors import DuplicateIds, LossyIds

# Rows read at a time where all of them are wanted in the end.
_BATCH = 1_000_000
# What catalogs write for "no value"; all of them become NULL.
_NOTHING = ("", "nan", "null", "none", "na", "n/a", "--")
# A number that was an integer before it met a float: 587726016142835881.0, 5.87726016142836e+17.
_FLOAT_ID = r"^[+-]?(\d+\.0*|\d\.\d+[eE][+]?\d+)$"


def header(path: Path) -> list[str]:
    """Column names of a table file, in its order; elements of vector columns as ``name[0]``, ``name[1]`` ...

    Raises
    ------
    CatalogError
        No such file, another format, or not a table.
    """
    with readable(path):
        return table_file(path).names()


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
    """``" (did you mean a, b?)"``, or nothing; upper and lower case are alike."""
    folded = {other.casefold(): other for other in present}
    near = [folded[match] for match in get_close_matches(name.casefold(), folded, n=3, cutoff=0.8)]
    return f" (did you mean {', '.join(near)}?)" if near else ""


def column_batches(path: Path, names: Mapping[str, str], rows: int) -> Iterator[pl.DataFrame]:
    """The columns `names` (wanted name -> name in the file), at most `rows` rows at a time; at least one frame.

    CSV gives text, other formats what they hold. Text cells are stripped of the blanks that FITS tables are padded
    with; empty cells and spellings of "no value" become NULL. Nothing is guessed from the text here: an id of 19 digits
    stays as it was written.

    Raises
    ------
    CatalogError
        No such file, another format, or not a whole table.
    """
    own = list(dict.fromkeys(names.values()))
    batches = table_file(path).batches(own, rows)
    while True:
        with readable(path):
            frame = next(batches, None)
        if frame is None:
            return
        frame = frame.select(pl.col(there).alias(wanted) for wanted, there in names.items())
        yield frame.with_columns(_cleaned(frame[name]) for name in frame.columns)


def read_columns(path: Path, names: Mapping[str, str]) -> pl.DataFrame:
    """All rows of `column_batches` at once."""
    return pl.concat(column_batches(path, names, _BATCH))


def without_missing(frame: pl.DataFrame, missing: Mapping[str, Sequence[float | str]], keep: str) -> pl.DataFrame:
    """The frame with NULL where a survey's ``[catalog] missing`` says that a value means none.

    Parameters
    ----------
    frame
        Columns in the survey's spelling.
    missing
        Column, or ``*`` for every one, -> its values that mean nothing: numbers, compared as numbers in the column's
        own precision, or texts.
    keep
        The id's column, which ``*`` leaves alone.
    """
    changed = []
    for name in frame.columns:
        values = [*missing.get(name, ()), *(missing.get("*", ()) if name != keep else ())]
        if values:
            changed.append(pl.when(~_is_any(frame[name], values)).then(frame[name]).alias(name))
    return frame.with_columns(changed)


def _is_any(column: pl.Series, values: Sequence[float | str]) -> pl.Series:
    numbers = [float(value) for value in values if not isinstance(value, str)]
    texts = [value for value in values if isinstance(value, str)]
    found = pl.Series([False] * len(column), dtype=pl.Boolean)
    if numbers and (column.dtype == pl.String or column.dtype.is_numeric()):
        precision = pl.Float32 if column.dtype == pl.Float32 else pl.Float64
        found |= (
            column.cast(precision, strict=False)
            .is_in(pl.Series(numbers, dtype=precision).implode())
            .fill_null(value=False)
        )
    if texts and column.dtype == pl.String:
        found |= column.is_in(texts).fill_null(value=False)
    return found


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


def refuse_repeated(ids: pl.Series, table: str, where: str) -> None:
    """Refuse ids of which one stands in several rows; `table` says of what, `where` names file and column.

    Raises
    ------
    DuplicateIds
        With the first of them.
    """
    repeated = ids.filter(ids.is_duplicated()).unique(maintain_order=True)
    if len(repeated):
        raise DuplicateIds(
            f"{len(repeated):,} ids stand several times in {table}",
            where=f"{where}, for example {', '.join(repeated.head(3))}",
            expected="one row an id",
            fix="keep one row of each",
        )


def as_numbers(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """(values, unreadable): float64 with NULL where there is none, and where text was found that is no number.

    True and false count as 1 and 0. NaN, the infinities and NULL all mean "no value": a magnitude of no flux is -inf.
    """
    if column.dtype == pl.String:
        logical = column.str.to_lowercase().replace({"true": "1", "false": "0"})
        values = logical.cast(pl.Float64, strict=False)
        unreadable = column.is_not_null() & values.is_null()
    else:
        values = column.cast(pl.Float64, strict=False)
        unreadable = column.is_not_null() & values.is_null()
    return finite(values), unreadable


def finite(column: pl.Series) -> pl.Series:
    """A float column with NULL for NaN and the infinities."""
    return column.to_frame("v").select(pl.when(pl.col("v").is_finite()).then("v").alias(column.name)).to_series()


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
