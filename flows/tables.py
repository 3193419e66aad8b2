"""Tables on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from flows.console import out


def plain(*columns: str, numbers: slice = slice(1, None)) -> Table:
    """A table without lines; the columns of `numbers` are set to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in columns:
        table.add_column(header, overflow="fold")
    for column in table.columns[numbers]:
        column.justify = "right"
    return table


def by_column(rows: Sequence[Mapping[str, str]]) -> Table:
    """Values by column, in a table as wide as they are: longer headers stand in two lines."""
    widths = {column: max(len(row[column]) for row in rows) for column in rows[0]}
    table = plain(*(_in_two_lines(column) if len(column) > width else column for column, width in widths.items()))
    for column, width in zip(table.columns, widths.values(), strict=True):
        column.min_width = width
    for row in rows:
        table.add_row(*row.values())
    return table


def _in_two_lines(header: str) -> str:
    """Broken before its parenthesis, which stays whole, or else before its last word."""
    return header.replace(" (", "\n(", 1) if " (" in header else "\n".join(header.rsplit(" ", 1))


def show(table: Table) -> None:
    """Print it; one wider than the terminal, or than the 80 columns that a pipe counts as, loses no column."""
    out.print(table, soft_wrap=False, crop=False)
