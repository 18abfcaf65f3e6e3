"""Places labels in a picture: where they cover neither each other nor what is drawn, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from planner.pages.charts.scale import text_width

TEXT = 12
"""Height of a label's letters, in pixels."""
_GAP = 3


class Box(NamedTuple):
    """A rectangle, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Returns whether two rectangles share a point."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def within(self, other: Box) -> bool:
        """Returns whether the rectangle is inside another one."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


class Label(NamedTuple):
    """A text and where it stands: the left end of its baseline."""

    text: str
    x: float
    y: float


class Placer:
    """Finds room for labels.

    Args:
        frame: The rectangle in which they have to be.
    """

    def __init__(self, frame: Box) -> None:
        self._frame, self._taken = frame, list[Box]()
        self._lines: list[tuple[float, float, float, float]] = []

    def take(self, box: Box) -> None:
        """Keeps labels out of a rectangle."""
        self._taken.append(box)

    def avoid(self, points: Sequence[tuple[float, float]]) -> None:
        """Keeps labels off a line through points, where there is other room."""
        self._lines += [(*a, *b) for a, b in pairwise(points)]

    def place(self, text: str, x: float, y: float, radius: float = 5) -> Label | None:
        """Returns a label next to a point, or None if there is no room for it.

        Args:
            text: The text.
            x: The point's place.
            y: The point's place.
            radius: Pixels that the point's mark takes around it.
        """
        width = text_width(text, TEXT, bold=True)
        off = radius + _GAP
        places = [
            (x + off, y - TEXT / 2),
            (x - width / 2, y - off - TEXT),
            (x - width / 2, y + off),
            (x - off - width, y - TEXT / 2),
            *((x + i * off * 0.7 - (width if i < 0 else 0), y + j * off * 0.7 - (TEXT if j < 0 else 0))
              for i, j in ((1, -1), (1, 1), (-1, -1), (-1, 1))),
        ]  # fmt: skip
        return self._first(text, width, places)

    def place_along(self, text: str, left: float, right: float, y: float) -> Label | None:
        """Returns a label above or below a horizontal line, near one of its ends or its middle."""
        width = text_width(text, TEXT, bold=True)
        starts = (right - width - _GAP, left + _GAP, (left + right - width) / 2)
        tops = (y - TEXT - _GAP, y + _GAP)
        return self._first(text, width, [(start, top) for top in tops for start in starts])

    def _first(self, text: str, width: float, places: Iterable[tuple[float, float]]) -> Label | None:
        """Returns the label at the first place that is free, of lines as well if one is."""
        boxes = [Box(left, top, left + width, top + TEXT) for left, top in places]
        free = [b for b in boxes if b.within(self._frame) and not any(b.meets(other) for other in self._taken)]
        if not free:
            return None
        box = min(free, key=lambda b: sum(_crosses(line, b) for line in self._lines))
        self._taken.append(Box(box.left - _GAP, box.top - _GAP, box.right + _GAP, box.bottom + _GAP))
        return Label(text, box.left, box.bottom - 2)


def _crosses(line: tuple[float, float, float, float], box: Box) -> bool:
    """Returns whether a segment goes through a rectangle (Liang and Barsky's clipping)."""
    x, y, dx, dy = line[0], line[1], line[2] - line[0], line[3] - line[1]
    first, last = 0.0, 1.0
    for step, room in ((-dx, x - box.left), (dx, box.right - x), (-dy, y - box.top), (dy, box.bottom - y)):
        if step == 0:
            if room < 0:
                return False
        elif step < 0:
            first = max(first, room / step)
        else:
            last = min(last, room / step)
    return first <= last
