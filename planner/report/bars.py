"""Bars: one line of characters whose lengths are proportional to bytes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from planner.report.categories import Category
from planner.report.format import gib, gib_parts

_BLOCK, _ASCII_BLOCK = "━", "="
_LEGEND_GAP = 3


def stacked(parts: Sequence[tuple[Category, int]], width: int, *, ascii_only: bool) -> Text:
    """All parts in a row of exactly `width` cells; a part that is not empty has one cell at least."""
    bar = Text(no_wrap=True)
    for (category, _), cells in zip(parts, _cells([num_bytes for _, num_bytes in parts], width), strict=True):
        bar.append(category.character(ascii_only) * cells, category.style)
    return bar


def _cells(sizes: Sequence[int], width: int) -> list[int]:
    """Cells of each part: in proportion, at least one, exactly `width` in all."""
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
    """`character name GiB` of each part, in as many lines as it takes."""
    written = gib_parts([num_bytes for _, num_bytes in parts])
    numbers = ["<0.1" if number == gib(0) else number for number in written]
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
    """A bar of one kind, `width` cells for the largest."""
    cells = round(size * width / largest) if largest else 0
    return (_ASCII_BLOCK if ascii_only else _BLOCK) * (max(1, cells) if size else 0)
