"""Draws all plans by effective batch and tokens per second; a mark's area is the memory that is left free."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from planner.pages.charts.place import Box, Placer
from planner.pages.charts.scale import Scale, powers, short, spanned, ticks
from planner.pages.charts.svg import BOTTOM, LEFT, RIGHT, TOP, Axis, Size, axes, both, label, line, mark
from planner.pages.subjects import Row
from planner.report.parts import words
from planner.report.parts.format import gib, grouped

_LEAST, _MOST = 4.0, 14.0
"""Radius of a mark with no free memory, and with the most, in pixels."""


def front(rows: Sequence[Row]) -> str:
    """Returns the chart; empty where there is one plan alone."""
    shown = [row for row in rows if row.plan.memory.fits]
    if len(shown) < 2:
        return ""
    return both(lambda size: _elements(shown, size), "Effective batch, tokens per second and free memory of all plans")


def _elements(rows: Sequence[Row], size: Size) -> Iterator[str]:
    right, ground = size.width - RIGHT, size.height - BOTTOM
    low, high = spanned([row.plan.global_batch_size for row in rows])
    _, fastest = spanned([row.plan.time.tokens_per_second for row in rows])
    x = Scale(low / 1.4, high * 1.4, LEFT, right, is_log=True)
    y = Scale(0, fastest * 1.15, ground, TOP)
    numbers = powers(x.low, x.high, 6 if size.width < 400 else 12)
    yield from axes(
        size,
        Axis(x, numbers, grouped, "effective batch, sequences"),
        Axis(y, ticks(y.high, 5), short, "tokens/s of all GPUs"),
    )
    yield line(_stairs(rows, x, y), "front")
    placer = Placer(Box(LEFT, TOP - 8, size.width - 2, ground - 2))
    most = max(map(_free, rows)) or 1
    # Large marks first, so that small ones lie on top; labels of the front before those of other plans.
    for row in sorted(rows, key=lambda row: -_free(row)):
        place, r = _place(row, x, y), _radius(row, most)
        placer.take(Box(place[0] - r, place[1] - r, place[0] + r, place[1] + r))
        yield mark(row.group, *place, r, "point" if row.on_front else "point beaten", _said(row))
    for row in sorted(rows, key=lambda row: not row.on_front):
        if row.rank is not None and (placed := placer.place(f"#{row.rank}", *_place(row, x, y), _radius(row, most))):
            yield label(placed, "rank" if row.on_front else "rank beaten")


def _place(row: Row, x: Scale, y: Scale) -> tuple[float, float]:
    return x(row.plan.global_batch_size), y(row.plan.time.tokens_per_second)


def _free(row: Row) -> int:
    return max(0, row.plan.memory.budget_bytes - row.plan.memory.process_bytes)


def _radius(row: Row, most: int) -> float:
    """Returns the radius of a mark, in pixels: its area grows with the free memory, of which `most` is the most."""
    return math.sqrt(_LEAST**2 + (_MOST**2 - _LEAST**2) * _free(row) / most)


def _stairs(rows: Sequence[Row], x: Scale, y: Scale) -> list[tuple[float, float]]:
    """Returns the edge of what is reached: for each effective batch the most tokens/s of one as large or larger."""
    found: list[tuple[float, float]] = []
    fastest = 0.0
    for row in sorted(rows, key=lambda row: (-row.plan.global_batch_size, -row.plan.time.tokens_per_second)):
        if row.plan.time.tokens_per_second > fastest:
            fastest = row.plan.time.tokens_per_second
            place = _place(row, x, y)
            found += [(place[0], found[-1][1]), place] if found else [(place[0], y(0)), place]
    return [*found, (x.start, found[-1][1])] if found else []


def _said(row: Row) -> str:
    plan = row.plan
    number = f"#{row.rank} " if row.rank is not None else ""
    return (
        f"{number}{words.method(plan.strategy)}: effective batch {grouped(plan.global_batch_size)}, "
        f"{grouped(plan.time.tokens_per_second)} tokens/s, {gib(_free(row))} GiB free"
    )
