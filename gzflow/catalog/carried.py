"""What a catalog says of its galaxies beside votes, kept with each of them as one JSON object."""

from __future__ import annotations

import polars as pl

from gzflow.catalog.columns import as_numbers
from gzflow.surveys.survey import Survey


def carried(survey: Survey, frame: pl.DataFrame) -> pl.Series:
    """``carried``: a JSON object a row, with the survey's `carry` entries as keys.

    A column is kept under its name, with the type it has in `frame`, where text has the type that all of the file's
    text has. A pattern becomes one array, in the order of ``tree.answers`` (or of the questions), with null where there
    is no value: 37 debiased fractions take a tenth of the space that they would take under 37 names.
    """
    entries = survey.carried_columns()
    if not entries:
        return pl.Series("carried", ["{}"] * len(frame), dtype=pl.String)
    values = pl.DataFrame(
        [
            frame[columns[0]].alias(entry) if columns == (entry,) else _array(frame, columns).alias(entry)
            for entry, columns in entries.items()
        ]
    )
    return values.select(pl.struct(pl.all()).struct.json_encode().alias("carried")).to_series()


def _array(frame: pl.DataFrame, columns: tuple[str, ...]) -> pl.Series:
    numbers = [as_numbers(frame[name]) for name in columns]
    if any(unreadable.any() for _, unreadable in numbers):
        parts = pl.DataFrame([frame[name].cast(pl.String).alias(str(i)) for i, name in enumerate(columns)])
    else:
        parts = pl.DataFrame([column.alias(str(i)) for i, (column, _) in enumerate(numbers)])
    return parts.select(pl.concat_list(pl.all())).to_series()
