"""Which image belongs to which galaxy, as the catalog or a mapping table says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from gzflow.catalog.columns import as_ids, header, near_matches, read_columns, resolve
from gzflow.errors import DuplicateIds, MissingColumns
from gzflow.surveys.survey import PLACEHOLDER, FileMapping


def placeholders(pattern: str) -> list[str]:
    """Columns that a pattern needs; ``id``, the galaxy's own, is not one of them."""
    return [name for name in dict.fromkeys(match[1] for match in PLACEHOLDER.finditer(pattern)) if name != "id"]


def rendered(pattern: str, values: Mapping[str, pl.Series]) -> pl.Series:
    """The pattern filled for each galaxy; NULL where one of its values is.

    ``{name}`` is a value of `values`; ``{name[a:b]}`` a part of it, counted as Python counts.
    """
    parts: list[pl.Expr] = []
    columns: dict[str, pl.Series] = {}
    end = 0
    for i, match in enumerate(PLACEHOLDER.finditer(pattern)):
        start, stop = (int(bound) if bound else None for bound in (match[2], match[3]))
        texts = values[match[1]].cast(pl.String).to_list()
        columns[f"c{i}"] = pl.Series([None if text is None else text[start:stop] for text in texts], dtype=pl.String)
        parts += [pl.lit(pattern[end : match.start()]), pl.col(f"c{i}")]
        end = match.end()
    if not columns:
        raise ValueError(f"the pattern {pattern!r} names no column: all galaxies would share one image")
    return pl.DataFrame(columns).select(pl.concat_str([*parts, pl.lit(pattern[end:])])).to_series()


class ImageMapping:
    """The mapping file of a survey's ``[archive.mapping]``, held in memory: which image belongs to which galaxy.

    Parameters
    ----------
    section
        The survey's ``[archive.mapping]``.
    path
        The mapping file.
    names
        Wanted columns of the file.

    Raises
    ------
    MissingColumns, DuplicateIds
        As their names say.
    """

    def __init__(self, section: FileMapping, path: Path, names: list[str]) -> None:
        self.also, self.names = section.also, names
        wanted = [section.id, *section.also, *names]
        present = header(path)
        found = resolve(wanted, present)
        missing = [name for name in wanted if name not in found]
        if missing:
            raise MissingColumns(
                f"the mapping file lacks {len(missing)} column(s)",
                where=str(path),
                problems=[f"{name!r}{near_matches(name, present)}" for name in missing],
                fix="give the mapping file that [archive.mapping] of the survey describes",
            )
        table = read_columns(path, {name: found[name] for name in dict.fromkeys(wanted)})
        table = table.select(as_ids(table[name], f"{path}, column {name!r}") for name in table.columns)
        table = table.rename({section.id: "id"}) if section.id != "id" else table
        # A mapping may know a galaxy twice as long as both lines name the same image.
        self._table = table.unique()
        repeated = self._table.filter(pl.struct("id", *section.also).is_duplicated() & pl.col("id").is_not_null())
        if len(repeated):
            raise DuplicateIds(
                f"{repeated.select('id', *section.also).n_unique():,} galaxies have several images in the mapping",
                where=f"{path}, for example {', '.join(repeated['id'].unique(maintain_order=True).head(3))}",
                expected=f"one line for each {' and '.join([section.id, *section.also])}",
                fix="correct the mapping file, or name a further column in [archive.mapping] also",
            )

    def of(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Columns `names` for each row of `keys`: ``id`` and those of `also`, as text; NULL for unknown galaxies."""
        return keys.join(self._table, on=["id", *self.also], how="left", maintain_order="left").select(self.names)
