"""Tables without lines. What does not fit is left out column by column by whoever makes the table, never cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

INDENT = 2
GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and its cells. `right`: aligned to the right, for numbers."""

    heading: str
    cells: Sequence[str]
    right: bool = False
    style: str = ""

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.heading, *self.cells)))

    def padded(self, cell: str) -> str:
        space = " " * (self.width - cell_len(cell))
        return space + cell if self.right else cell + space


def fits(columns: Sequence[Column], width: int) -> bool:
    return INDENT + sum(column.width for column in columns) + GAP * (len(columns) - 1) <= width


def shrunk(columns: Sequence[Column], expendable: Sequence[str], width: int) -> list[Column]:
    """The columns that fit: those with an expendable heading are left out, one after the other."""
    shown = list(columns)
    for heading in expendable:
        if fits(shown, width):
            break
        shown = [column for column in shown if column.heading != heading]
    return shown


def table_lines(columns: Sequence[Column]) -> tuple[Text, list[Text]]:
    """The heading and the rows."""
    heading = _line([(column.padded(column.heading), "bold") for column in columns])
    rows = [
        _line([(column.padded(cell), column.style) for column, cell in zip(columns, cells, strict=True)])
        for cells in zip(*(column.cells for column in columns), strict=True)
    ]
    return heading, rows


def _line(cells: Sequence[tuple[str, str]]) -> Text:
    """Cells in a row, never wrapped or cut, without blanks at the end."""
    text = Text(" " * INDENT, no_wrap=True, overflow="ignore")
    for i, (cell, style) in enumerate(cells):
        text.append(" " * (GAP if i else 0))
        text.append(cell, style)
    text.rstrip()
    return text
