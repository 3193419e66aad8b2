"""What the user asks for beyond the columns of the parts: only what is relevant, and votes instead of fractions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gzflow.dictionary import LEVEL, meanings
from gzflow.errors import ExportError
from gzflow.posterior import expected_votes
from gzflow.tree import DecisionTree

CONCENTRATIONS = "_concentrations"


@dataclass(frozen=True)
class Refinement:
    """Options of an export.

    Attributes
    ----------
    asked
        Every number of a question is NaN for galaxies of which a smaller share of volunteers than this would be asked
        it, but for that share itself; None keeps all. A share that equals it is kept.
    volunteers
        Add the votes to expect of so many volunteers to each answer; needs kept concentrations.
    """

    asked: float | None = None
    volunteers: float | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.asked is not None and not 0 <= self.asked <= 1:
            problems.append(f"a share of {self.asked} asked is not between 0 and 1")
        if self.volunteers is not None and not 0 < self.volunteers < 1e9:
            problems.append(f"{self.volunteers} volunteers are not above 0")
        if problems:
            raise ExportError("the options cannot be", problems=problems, expected="as --asked 0.5 --volunteers 40")

    @property
    def provenance(self) -> dict[str, str]:
        """What was asked for, as the file says it."""
        named = {"least_proportion_asked": self.asked, "volunteers": self.volunteers}
        return {name: str(value) for name, value in named.items() if value is not None}

    def schema(self, schema: pa.Schema, tree: DecisionTree) -> pa.Schema:
        """The columns after it.

        Raises
        ------
        ExportError
            Expected votes are asked for, and the catalogue kept no concentrations.
        """
        refined = schema
        if self.volunteers is not None:
            require_concentrations(schema, tree, "the expected votes of volunteers need every sample")
            known = meanings(tree, float(schema.metadata[LEVEL]))
            for answer in tree.answers:
                name = f"{answer}_expected-votes"
                refined = refined.append(pa.field(name, pa.float32(), metadata=known[name].metadata()))
        return refined.with_metadata(schema.metadata | {k.encode(): v.encode() for k, v in self.provenance.items()})

    def apply(self, table: pa.Table, tree: DecisionTree) -> pa.Table:
        """A table of `schema(table.schema, tree)`."""
        schema = self.schema(table.schema, tree)
        columns = dict(zip(table.column_names, table.columns, strict=True))
        if self.volunteers is not None:
            votes = expected_votes(concentrations(table, tree), tree, self.volunteers).astype(np.float32)
            columns |= {f"{answer}_expected-votes": pa.array(votes[:, a]) for a, answer in enumerate(tree.answers)}
        if self.asked is not None:
            for question in tree.questions:
                share = columns[f"{question.name}_proportion-asked"].to_numpy()
                # In the column's own precision: a share written as 0.9 stands in the file as a float32.
                left_out = ~(share >= np.asarray(self.asked, share.dtype))
                for name in columns:
                    if name.rpartition("_")[0] in question.columns:
                        columns[name] = _blanked(columns[name], left_out)
        return pa.table(list(columns.values()), schema=schema)


def require_concentrations(schema: pa.Schema, tree: DecisionTree, why: str) -> None:
    """Refuse a catalogue that holds no samples.

    Raises
    ------
    ExportError
        Saying `why` they are needed.
    """
    if not {f"{answer}{CONCENTRATIONS}" for answer in tree.answers} <= set(schema.names):
        raise ExportError(
            f"{why}, and this catalogue holds none: it keeps fractions, standard deviations and intervals alone",
            expected="a catalogue with concentrations",
            fix="make one with `gzflow predict SURVEY --concentrations`",
        )


def concentrations(table: pa.Table, tree: DecisionTree) -> NDArray[np.float32]:
    """(n, n_samples, n_answers), as the samples of a table's rows were kept."""
    return np.stack([vectors(table.column(f"{answer}{CONCENTRATIONS}")) for answer in tree.answers], axis=2)


def vectors(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """(n, length) values of a column of lists of one length."""
    values = column.combine_chunks().flatten().to_numpy()
    return values.reshape(len(column), column.type.list_size)


def _blanked(column: pa.ChunkedArray, rows: NDArray[np.bool_]) -> pa.Array:
    """The column with NaN in some rows."""
    if pa.types.is_fixed_size_list(column.type):
        values = vectors(column).copy()
        values[rows] = np.nan
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), column.type.list_size)
    return pa.array(np.where(rows, np.float32(np.nan), column.to_numpy()))
