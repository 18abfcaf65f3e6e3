"""Draws bars: lines of characters whose lengths are proportional to bytes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from planner.report.parts.categories import FREE, Category
from planner.report.parts.format import gib, gib_difference, gib_parts

_BLOCK, _ASCII_BLOCK = "━", "="
_LEGEND_GAP = 3


def stacked(parts: Sequence[tuple[Category, int]], width: int, *, ascii_only: bool) -> Text:
    """Draws all parts in a row of exactly `width` cells.

    A part that is not empty has at least one cell.

    Args:
        parts: Categories and their bytes.
        width: Cells of the row.
        ascii_only: Whether only ASCII can be written.
    """
    bar = Text(no_wrap=True)
    for (category, _), cells in zip(parts, _cells([num_bytes for _, num_bytes in parts], width), strict=True):
        bar.append(category.character(ascii_only) * cells, category.style)
    return bar


def _cells(sizes: Sequence[int], width: int) -> list[int]:
    """Returns the cells of each part: proportional to its bytes, at least one, and exactly `width` in all."""
    total = sum(sizes) or 1
    cells = [max(1, size * width // total) for size in sizes]
    while sizes and (rest := width - sum(cells)):
        step = 1 if rest > 0 else -1
        off = [step * (size * width / total - have) for size, have in zip(sizes, cells, strict=True)]
        candidates = [i for i, have in enumerate(cells) if step > 0 or have > 1]
        if not candidates:
            break
        cells[max(candidates, key=lambda i: off[i])] += step
    return cells


def legend(parts: Sequence[tuple[Category, int]], width: int, *, ascii_only: bool) -> list[Text]:
    """Draws character, name and GiB of each part, in as many lines of at most `width` cells as are needed."""
    filled = [num_bytes for category, num_bytes in parts if category is not FREE]
    numbers = ["<0.1" if number == gib(0) else number for number in gib_parts(filled)]
    if len(filled) < len(parts):  # what is free comes last, as a reader would subtract it
        numbers.append(gib_difference(sum(num_bytes for _, num_bytes in parts), sum(filled)))
    lines = [Text(no_wrap=True)]
    for (category, _), number in zip(parts, numbers, strict=True):
        entry = Text.assemble((category.character(ascii_only), category.style), f" {category.label} ", (number, "bold"))
        if lines[-1] and lines[-1].cell_len + _LEGEND_GAP + entry.cell_len > width:
            lines.append(Text(no_wrap=True))
        elif lines[-1]:
            lines[-1].append(" " * _LEGEND_GAP)
        lines[-1].append_text(entry)
    return lines


def simple(size: int, largest: int, width: int, *, ascii_only: bool) -> str:
    """Draws a bar of one kind.

    Args:
        size: Bytes of this bar.
        largest: Bytes of the largest bar.
        width: Cells of the largest bar.
        ascii_only: Whether only ASCII can be written.
    """
    cells = round(size * width / largest) if largest else 0
    return (_ASCII_BLOCK if ascii_only else _BLOCK) * (max(1, cells) if size else 0)
