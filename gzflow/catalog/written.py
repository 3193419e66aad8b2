"""Which type the text of a whole column has, found from parts of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import polars as pl

from gzflow.catalog.columns import as_numbers, finite

_WHOLE = r"^-?(0|[1-9]\d*)$"
_PADDED = r"^-?0\d"


@dataclass(frozen=True)
class WrittenType:
    """What is true of all values of a column, or of a part of it; parts add up.

    Attributes
    ----------
    logical, whole, fits, number, padded
        All are true or false; all are whole numbers; these have at most 63 bits; all are numbers; some number begins
        with a zero that it does not need.
    numbers, texts
        How many values are numbers and how many are not.
    examples
        The first few of the latter.
    """

    logical: bool = True
    whole: bool = True
    fits: bool = True
    number: bool = True
    padded: bool = False
    numbers: int = 0
    texts: int = 0
    examples: tuple[str, ...] = ()

    @classmethod
    def of(cls, column: pl.Series) -> Self:
        """The type of a text column; other columns have theirs already."""
        values = column.drop_nulls()
        if column.dtype != pl.String or values.is_empty():
            return cls()
        whole = bool(values.str.contains(_WHOLE).all())
        numbers, unreadable = as_numbers(values)
        texts = values.filter(unreadable)
        return cls(
            logical=bool(values.str.to_lowercase().is_in(["true", "false"]).all()),
            whole=whole,
            fits=whole and values.cast(pl.Int64, strict=False).null_count() == 0,
            number=values.cast(pl.Float64, strict=False).null_count() == 0,
            padded=bool(values.str.contains(_PADDED).any()),
            numbers=len(numbers) - numbers.null_count(),
            texts=len(texts),
            examples=tuple(texts.unique(maintain_order=True).head(3)),
        )

    def __add__(self, other: WrittenType) -> WrittenType:
        return WrittenType(
            self.logical and other.logical,
            self.whole and other.whole,
            self.fits and other.fits,
            self.number and other.number,
            self.padded or other.padded,
            self.numbers + other.numbers,
            self.texts + other.texts,
            tuple(dict.fromkeys((*self.examples, *other.examples)))[:3],
        )

    @property
    def is_mixed(self) -> bool:
        """Numbers with some text among them: SQL would compare all of them as text, without a word."""
        return 0 < self.texts < self.numbers

    def applied(self, column: pl.Series) -> pl.Series:
        """The text as its type: boolean, integer, float, else text.

        Whole numbers that would change when written again (leading zeros, more than 63 bits) stay text; a number that
        is not finite becomes NULL.
        """
        if column.dtype.is_float():
            return finite(column)
        if column.dtype != pl.String or self == WrittenType():
            return column
        if self.logical:
            return column.str.to_lowercase() == "true"
        if self.whole:
            return column.cast(pl.Int64, strict=False) if self.fits else column
        return finite(column.cast(pl.Float64, strict=False)) if self.number and not self.padded else column
