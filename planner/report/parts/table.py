"""Draws tables without lines.

A table is never cut: the caller leaves out columns until it fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

INDENT = 2
"""Blanks before a row."""
GAP = 2
"""Blanks between columns."""


class Column(NamedTuple):
    """Holds a heading and its cells."""

    heading: str
    cells: Sequence[str]
    right: bool = False
    """Whether cells are aligned to the right, as numbers are."""
    style: str = ""
    """Style of the cells, as rich names it."""

    @property
    def width(self) -> int:
        """Returns the columns of the terminal that the widest cell takes."""
        return max(map(cell_len, (self.heading, *self.cells)))

    def padded(self, cell: str) -> str:
        """Returns a cell with blanks up to the width."""
        space = " " * (self.width - cell_len(cell))
        return space + cell if self.right else cell + space


def fits(columns: Sequence[Column], width: int, gap: int = GAP) -> bool:
    """Returns whether a table of these columns, with gaps between them, fits into `width` columns of the terminal."""
    return INDENT + sum(column.width for column in columns) + gap * (len(columns) - 1) <= width


def shrunk(columns: Sequence[Column], expendable: Sequence[str], width: int) -> list[Column]:
    """Returns the columns that fit.

    Args:
        columns: All columns.
        expendable: Headings of columns that can be left out, in this order.
        width: Columns of the terminal.
    """
    shown = list(columns)
    for heading in expendable:
        if fits(shown, width):
            break
        shown = [column for column in shown if column.heading != heading]
    return shown


def table_lines(columns: Sequence[Column], gap: int = GAP) -> tuple[Text, list[Text]]:
    """Returns the heading and the rows, with blanks between columns."""
    heading = _line([(column.padded(column.heading), "bold") for column in columns], gap)
    rows = [
        _line([(column.padded(cell), column.style) for column, cell in zip(columns, cells, strict=True)], gap)
        for cells in zip(*(column.cells for column in columns), strict=True)
    ]
    return heading, rows


def _line(cells: Sequence[tuple[str, str]], gap: int) -> Text:
    """Returns cells in a row, never wrapped or cut, without blanks at the end."""
    text = Text(" " * INDENT, no_wrap=True, overflow="ignore")
    for i, (cell, style) in enumerate(cells):
        text.append(" " * (gap if i else 0))
        text.append(cell, style)
    text.rstrip()
    return text
