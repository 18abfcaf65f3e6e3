"""Draws plans as marks by one number and by tokens per second; a mark's area is the memory that is left free."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from planner.pages.charts.place import Box, Placer
from planner.pages.charts.scale import Scale, rounded, short, spanned, ticks
from planner.pages.charts.svg import BOTTOM, LEFT, RIGHT, TOP, Axis, Size, axes, both, label, line, mark
from planner.pages.rows import OTHERS, Row
from planner.report.parts import words
from planner.report.parts.format import gib, grouped

_LEAST, _MOST = 4.0, 14.0
"""Radius of a mark with no free memory, and with the most, in pixels."""
_LOG_FROM = 30
"""Factor between the fastest and the slowest plan from which on equal factors have equal distances."""


class Points(NamedTuple):
    """Plans by one number and tokens per second."""

    title: str
    x_title: str
    rows: Sequence[Row]
    across: Callable[[Row], float]
    """The number of a plan, above 0; equal factors have equal distances."""
    ticks: Callable[[float, float, int], Sequence[float]]
    """Returns numbers of the horizontal axis: from, to, how many at the most."""
    write: Callable[[float], str]
    is_filled: Callable[[Row], bool]
    """Whether a mark is filled."""
    wants_more: bool
    """Whether more of the number is better."""

    def draw(self) -> str:
        """Returns the chart in both sizes."""
        return both(self._elements, self.title)

    def _elements(self, size: Size) -> Iterator[str]:
        right, ground = size.width - RIGHT, size.height - BOTTOM
        low, high = spanned([self.across(row) for row in self.rows])
        slowest, fastest = spanned([row.plan.time.tokens_per_second for row in self.rows])
        x = Scale(low / 1.4, high * 1.4, LEFT, right, is_log=True)
        is_log = fastest > _LOG_FROM * slowest
        y = Scale(slowest / 1.6 if is_log else 0, fastest * (1.6 if is_log else 1.15), ground, TOP, is_log)
        yield from axes(
            size,
            Axis(x, self.ticks(x.low, x.high, 6 if size.width < 400 else 12), self.write, self.x_title),
            Axis(y, rounded(y.low, y.high, 6) if is_log else ticks(y.high, 5), short, "tokens/s of all GPUs"),
        )
        yield line(self._stairs(x, y), "front")
        placer = Placer(Box(LEFT, TOP - 8, size.width - 2, ground - 2))
        most = max(map(_free, self.rows)) or 1
        # Large marks first, so that small ones lie on top, and last those of plans with pictures; labels of filled ones
        # before those of others.
        for row in sorted(self.rows, key=lambda row: (row.group != OTHERS, -_free(row))):
            place, r = self._place(row, x, y), _radius(row, most)
            placer.take(Box(place[0] - r, place[1] - r, place[0] + r, place[1] + r))
            yield mark(row.group, *place, r, "point" if self.is_filled(row) else "point beaten", _said(row))
        for row in sorted(self.rows, key=lambda row: (row.group == OTHERS, not self.is_filled(row))):
            place, r = self._place(row, x, y), _radius(row, most)
            if row.rank is not None and (placed := placer.place(f"#{row.rank}", *place, r)):
                yield label(placed, "rank" if self.is_filled(row) else "rank beaten")

    def _place(self, row: Row, x: Scale, y: Scale) -> tuple[float, float]:
        return x(self.across(row)), y(row.plan.time.tokens_per_second)

    def _stairs(self, x: Scale, y: Scale) -> list[tuple[float, float]]:
        """Returns the edge of what is reached: for each number the most tokens/s of a plan as good or better in it."""
        found: list[tuple[float, float]] = []
        sign, fastest = -1 if self.wants_more else 1, 0.0
        for row in sorted(self.rows, key=lambda row: (sign * self.across(row), -row.plan.time.tokens_per_second)):
            if row.plan.time.tokens_per_second > fastest:
                fastest = row.plan.time.tokens_per_second
                place = self._place(row, x, y)
                found += [(place[0], found[-1][1]), place] if found else [(place[0], y.start), place]
        return [*found, (x.start if self.wants_more else x.end, found[-1][1])]


def _free(row: Row) -> int:
    return max(0, row.plan.memory.budget_bytes - row.plan.memory.process_bytes)


def _radius(row: Row, most: int) -> float:
    """Returns the radius of a mark, in pixels: its area grows with the free memory, up to `most`."""
    return math.sqrt(_LEAST**2 + (_MOST**2 - _LEAST**2) * _free(row) / most)


def _said(row: Row) -> str:
    plan = row.plan
    number = f"#{row.rank} " if row.rank is not None else ""
    price = f", {plan.usd_per_million_tokens:#.3g} USD per million tokens" if plan.usd_per_million_tokens else ""
    return (
        f"{number}{row.place}, {words.method(plan.strategy)}: effective batch {grouped(plan.global_batch_size)}, "
        f"{grouped(plan.time.tokens_per_second)} tokens/s, {gib(_free(row))} GiB free{price}"
    )
