"""Draws lines and marks in a rectangle of characters, with the dots of braille where the terminal has them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rich.text import Text

_ACROSS, _DOWN = 2, 4
"""Dots of a braille character."""
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot, by row and column. Source: Unicode 16.0, block Braille Patterns."""
_BLANK = 0x2800


class Canvas:
    """A rectangle of characters; its coordinates are shares from 0 to 1, from the lower left.

    Args:
        width: Characters across.
        height: Characters down.
        ascii_only: Whether only ASCII can be written.
    """

    def __init__(self, width: int, height: int, *, ascii_only: bool) -> None:
        self.width, self.height, self._ascii = width, height, ascii_only
        self._bits = [[0] * width for _ in range(height)]
        self._styles = [[""] * width for _ in range(height)]
        self._letters: dict[tuple[int, int], tuple[str, str]] = {}

    def line(self, points: Sequence[tuple[float, float]], style: str) -> None:
        """Draws a line through points; what is above the canvas is left out."""
        for (x, y), (to_x, to_y) in pairwise(points):
            steps = max(1, 2 * round(max(abs(to_x - x) * self.width * _ACROSS, abs(to_y - y) * self.height * _DOWN)))
            for i in range(steps + 1):
                self._dot(x + (to_x - x) * i / steps, y + (to_y - y) * i / steps, style)

    def level(self, y: float, letter: str, style: str) -> None:
        """Draws a horizontal line of a letter, under everything else."""
        for column in range(self.width):
            self._letters.setdefault((self._row(y), column), (letter, style))

    def mark(self, x: float, y: float, letters: str, style: str) -> None:
        """Writes letters at a point, over everything else."""
        column = self._column(x, len(letters))
        for i, letter in enumerate(letters):
            self._bits[self._row(y)][column + i] = 0
            self._letters[self._row(y), column + i] = letter, style

    def is_free(self, x: float, y: float, length: int) -> bool:
        """Returns whether nothing is written yet where a mark would be."""
        column = self._column(x, length)
        return all((self._row(y), column + i) not in self._letters for i in range(-1, length + 1))

    def rows(self) -> list[Text]:
        """Returns the rows, from the top."""
        return [self._drawn(row) for row in range(self.height)]

    def _drawn(self, row: int) -> Text:
        text = Text(no_wrap=True, overflow="ignore")
        for column in range(self.width):
            bits, style = self._bits[row][column], self._styles[row][column]
            if bits:
                text.append("*" if self._ascii else chr(_BLANK + bits), style)
            else:
                text.append(*self._letters.get((row, column), (" ", "")))
        return text

    def _column(self, x: float, length: int) -> int:
        """Returns the first column of that many letters around a place."""
        return min(max(0, int(x * self.width) - (length - 1) // 2), self.width - length)

    def _row(self, y: float) -> int:
        return min(max(0, int((1 - y) * self.height)), self.height - 1)

    def _dot(self, x: float, y: float, style: str) -> None:
        if not 0 <= y <= 1:
            return
        across = min(int(x * self.width * _ACROSS), self.width * _ACROSS - 1)
        down = min(int((1 - y) * self.height * _DOWN), self.height * _DOWN - 1)
        row, column = down // _DOWN, across // _ACROSS
        self._bits[row][column] |= _DOTS[down % _DOWN][across % _ACROSS]
        self._styles[row][column] = style
