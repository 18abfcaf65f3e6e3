"""Draws curves of several plans over one number: memory against its budget, or tokens per second with their range."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from planner.pages.charts.place import TEXT, Box, Placer
from planner.pages.charts.scale import Scale, powers, spanned, ticks
from planner.pages.charts.svg import BOTTOM, LEFT, RIGHT, TOP, Axis, Size, area, axes, both, label, line, mark

_ROOM = 1.12
"""How much higher than its highest number an axis is."""


class Series(NamedTuple):
    """One curve."""

    group: int
    """Number of its color."""
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]]
    """For each point the numbers between which it is in nine of ten cases; empty where there is no range."""
    chosen: tuple[float, float]
    """The point that the plan has chosen."""
    said: str
    """Label of that point."""
    tip: str
    """What is said when one points at it."""


class Level(NamedTuple):
    """A horizontal line with a name, such as a budget."""

    at: float
    name: str
    group: int | None
    """Number of its color; None for a line that all curves share."""


class Chart(NamedTuple):
    """Curves with what is written around them."""

    title: str
    x_title: str
    y_title: str
    series: Sequence[Series]
    levels: Sequence[Level]
    write_x: Callable[[float], str]
    write_y: Callable[[float], str]
    is_log: bool
    """Whether the horizontal axis has powers of two."""

    def draw(self) -> str:
        """Returns the chart in both sizes."""
        return both(self._elements, self.title)

    @property
    def _highest(self) -> float:
        """The top of the vertical axis: above levels and chosen points; a curve that goes beyond is cut."""
        wanted = [level.at for level in self.levels] + [series.chosen[1] for series in self.series]
        if not self.levels:
            wanted += [y for series in self.series for _, y in series.points]
            wanted += [high / _ROOM for series in self.series for _, high in series.band]
        return _ROOM * max(wanted)

    def _elements(self, size: Size) -> Iterator[str]:
        right, ground = size.width - RIGHT, size.height - BOTTOM
        low, high = spanned([x for series in self.series for x, _ in series.points])
        x = Scale(low if self.is_log else 0, high, LEFT + 6, right - 6, self.is_log)
        y = Scale(0, self._highest, ground, TOP)
        few = 6 if size.width < 400 else 10
        numbers = powers(low, high, few) if self.is_log else ticks(high, few, whole=True)
        yield from axes(
            size,
            Axis(x, numbers, self.write_x, self.x_title),
            Axis(y, ticks(self._highest, 5), self.write_y, self.y_title),
        )
        placer = Placer(Box(LEFT, TOP - 8, size.width - 2, ground - 2))
        for series in self.series:
            placer.avoid([(x(a), y(b)) for a, b in cut(series.points, self._highest)])
            place = x(series.chosen[0]), y(series.chosen[1])
            placer.take(Box(place[0] - 6, place[1] - 6, place[0] + 6, place[1] + 6))
        for level in self.levels:
            placer.avoid([(LEFT, y(level.at)), (right, y(level.at))])
        yield from (part for series in self.series for part in _curve(series, x, y, self._highest))
        for level in self.levels:
            kind = "level" if level.group is None else f"level g{level.group}"
            yield line([(LEFT, y(level.at)), (right, y(level.at))], kind)
            if (placed := placer.place_along(level.name, LEFT, right, y(level.at))) is not None:
                yield label(placed, "level" if level.group is None else f"g{level.group}")
        for series in self.series:
            if (placed := placer.place(series.said, x(series.chosen[0]), y(series.chosen[1]), TEXT / 2)) is not None:
                yield label(placed, f"g{series.group}")


def _curve(series: Series, x: Scale, y: Scale, highest: float) -> Iterator[str]:
    """Yields the range, the line and the chosen point of a curve."""
    if series.band:
        places = [at for at, _ in series.points]
        under = [(x(at), y(min(low, highest))) for at, (low, _) in zip(places, series.band, strict=True)]
        over = [(x(at), y(min(high, highest))) for at, (_, high) in zip(places, series.band, strict=True)]
        yield area([*under, *reversed(over)], f"band g{series.group}")
    yield line([(x(a), y(b)) for a, b in cut(series.points, highest)], f"curve g{series.group}")
    yield mark(series.group, x(series.chosen[0]), y(series.chosen[1]), 5, "point", series.tip)


def cut(points: Sequence[tuple[float, float]], highest: float) -> list[tuple[float, float]]:
    """Returns a curve up to where it leaves the picture at the top."""
    found: list[tuple[float, float]] = []
    for at, value in points:
        if value <= highest:
            found.append((at, value))
            continue
        if found and found[-1][1] < value:
            before, below = found[-1]
            found.append((before + (at - before) * (highest - below) / (value - below), highest))
        break
    return found
