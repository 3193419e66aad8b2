"""The ids of a chunk in the space of their text: a plan of ten million galaxies is 200 MB instead of 800."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

# No database takes it in text, so no id has one.
_BETWEEN = "\0"


class Ids(Sequence[str]):
    """An immutable sequence of ids."""

    __slots__ = ("_n", "_text")

    def __init__(self, ids: Iterable[str]) -> None:
        given = list(ids)
        self._n = len(given)
        self._text = _BETWEEN.join(given)
        if self._text.count(_BETWEEN) != max(0, self._n - 1):
            raise ValueError("an id holds a NUL character")

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[str]:
        return iter(self._text.split(_BETWEEN) if self._n else ())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Ids, tuple)) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Ids({self._n:,}: {', '.join(self[:3])}{' ...' if self._n > 3 else ''})"
