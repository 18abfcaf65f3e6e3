"""Draws a curve with its axes in characters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from rich.text import Text

from planner.report.plots.canvas import Canvas

HEIGHT = 9
"""Rows of a chart, without its title and the numbers below it."""
_ROOM = 1.15
"""How much higher than its highest number an axis is."""


class Chart(NamedTuple):
    """A curve over one number."""

    title: str
    points: Sequence[tuple[float, float]]
    chosen: tuple[float, float]
    """The point of the plan."""
    budget: float | None
    """Where a horizontal line is drawn; None for none."""
    write_x: Callable[[float], str]
    write_y: Callable[[float], str]
    is_log: bool
    """Whether equal factors have equal distances across."""
    style: str

    def rows(self, width: int, *, ascii_only: bool) -> Iterator[Text]:
        """Yields the chart in rows of exactly `width` characters."""
        highest = _ROOM * (max(self.budget, self.chosen[1]) if self.budget is not None else max(map(_y, self.points)))
        labels = [self.write_y(highest * share) for share in (1.0, 0.5, 0.0)]
        margin = max(map(len, labels))
        canvas = Canvas(width - margin - 1, HEIGHT, ascii_only=ascii_only)
        first, last = self.points[0][0], self.points[-1][0]
        canvas.line([(self._share(x, first, last), y / highest) for x, y in self.points], self.style)
        if self.budget is not None:
            canvas.level(self.budget / highest, "-" if ascii_only else "╌", "red")
        canvas.mark(
            self._share(self.chosen[0], first, last), self.chosen[1] / highest, "O" if ascii_only else "●", "bold"
        )
        yield _padded(Text(self.title, "bold"), width)
        axis = "|" if ascii_only else "│"
        written = {0: labels[0], HEIGHT // 2: labels[1], HEIGHT - 1: labels[2]}
        for i, row in enumerate(canvas.rows()):
            yield Text.assemble((written.get(i, "").rjust(margin), "dim"), (axis, "dim"), row, no_wrap=True)
        yield self._below(width, margin + 1, first, last)

    def _share(self, x: float, first: float, last: float) -> float:
        if last == first:
            return 0.5
        if self.is_log:
            return math.log(x / first) / math.log(last / first)
        return (x - first) / (last - first)

    def _below(self, width: int, margin: int, first: float, last: float) -> Text:
        """Returns the numbers at both ends and of the plan, as far as they do not touch."""
        room = width - margin
        cells = [" "] * room
        own = round(self._share(self.chosen[0], first, last) * (room - 1))
        for x, place in ((self.chosen[0], own), (first, 0), (last, room - 1)):
            text = self.write_x(x)
            start = min(max(0, place - len(text) // 2), room - len(text))
            around = cells[max(0, start - 1) : start + len(text) + 1]
            if all(cell == " " for cell in around):
                cells[start : start + len(text)] = text
        return _padded(Text(" " * margin + "".join(cells), "dim"), width)


def _y(point: tuple[float, float]) -> float:
    return point[1]


def _padded(text: Text, width: int) -> Text:
    text.truncate(width)
    text.pad_right(width - text.cell_len)
    return text
