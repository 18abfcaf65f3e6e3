"""Lays columns beside the names of their lines: on a narrow terminal cells wrap, and columns go on in more tables."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len
from rich.text import Text

from planner.report.parts.table import GAP, INDENT, Column, fits, table_lines

_TIED = "\N{NO-BREAK SPACE}"


def beside(names: Column, columns: Sequence[Column], width: int) -> Iterator[Text | str]:
    """Yields a table of the columns, or several with a blank line between them, each with the names.

    There are as few tables as possible in which words stand whole.

    Args:
        names: Names of the lines.
        columns: What stands beside them.
        width: Columns of the terminal.
    """
    if fits([names, *columns], width):
        heading, rows = table_lines([names, *columns])
        yield from (heading, *rows)
        return
    number, room = _arranged(names, columns, width)
    for start in range(0, len(columns), number):
        if start:
            yield ""
        yield from _wrapped(names, columns[start : start + number], room)


def _arranged(names: Column, columns: Sequence[Column], width: int) -> tuple[int, int]:
    """Returns how many columns a table has, and the most that one of them may be wide."""
    words = (word for column in columns for cell in (column.heading, *column.cells) for word in _tied(cell).split(" "))
    longest, room = max(map(cell_len, words), default=0), 1
    for tables in range(1, len(columns) + 1):
        number = -(-len(columns) // tables)
        starts = range(0, len(columns), number)
        room = min(_widest(names, columns[start : start + number], width) for start in starts)
        if longest <= room:
            return number, room
    return 1, room


def _widest(names: Column, columns: Sequence[Column], width: int) -> int:
    """Returns the most that a column may be wide so that all fit: narrow ones leave room to others."""
    left = width - INDENT - names.width - GAP * len(columns)
    widest = max(column.width for column in columns)
    while widest > 1 and sum(min(column.width, widest) for column in columns) > left:
        widest -= 1
    return widest


def _wrapped(names: Column, columns: Sequence[Column], room: int) -> Iterator[Text]:
    """Yields a table whose cells go on below their first line, and headings above their last."""
    heads = [_lines(column.heading, room) for column in columns]
    height = max(map(len, heads))
    lines: list[Sequence[str]] = [*zip(*([""] * (height - len(head)) + head for head in [[], *heads]), strict=True)]
    for name, *cells in zip(names.cells, *(column.cells for column in columns), strict=True):
        lines += zip_longest([name], *(_lines(cell, room) for cell in cells), fillvalue="")
    laid = zip((names, *columns), zip(*lines, strict=True), strict=True)
    shown = [column._replace(heading="", cells=cells) for column, cells in laid]
    _, rows = table_lines(shown)
    for row in rows[:height]:
        row.stylize("bold")
    yield from rows


def _lines(cell: str, room: int) -> list[str]:
    return [line.replace(_TIED, " ") for line in textwrap.wrap(_tied(cell), room, break_on_hyphens=False)] or [""]


def _tied(cell: str) -> str:
    """Returns a cell in which a result is not parted from what makes it so: `4 x 16 x 1`, then `= 64`."""
    return cell.replace("= ", f"={_TIED}")
