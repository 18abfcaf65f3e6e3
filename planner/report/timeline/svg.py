"""Draws the picture as SVG for a page: text takes the page's color."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from planner.report.timeline.picture import Band, Picture, spread

WIDTH, HEIGHT = 1120, 460
LEFT, RIGHT, TOP, BOTTOM = 56, 152, 26, 30
_LINE_HEIGHT = 16
_NARROW = 70
"""Width of a phase below which its name does not fit, so the name begins where the phase does."""


class _Axes(NamedTuple):
    num_events: int
    height_bytes: int

    def x(self, event: float) -> float:
        """Returns the horizontal place of an event."""
        return LEFT + (WIDTH - LEFT - RIGHT) * event / self.num_events

    def y(self, num_bytes: float) -> float:
        """Returns the vertical place of a number of bytes."""
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * num_bytes / self.height_bytes


def svg(picture: Picture) -> str:
    """Returns the SVG element."""
    axes = _Axes(len(picture.timeline.changes), picture.height_bytes)
    parts = [
        *_phases(picture, axes),
        *(_band(picture.points, band, axes) for band in reversed(picture.bands)),
        *_axis(picture, axes),
        *_lines(picture, axes),
    ]
    frame = f'data-left="{LEFT}" data-right="{WIDTH - RIGHT}" data-top="{TOP}" data-bottom="{HEIGHT - BOTTOM}"'
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(picture.explanation)}" {frame}>\n'
        + "\n".join(parts)
        + "\n</svg>"
    )


def _phases(picture: Picture, axes: _Axes) -> Iterator[str]:
    for i, span in enumerate(picture.timeline.spans):
        start, end = axes.x(span.start), axes.x(span.end)
        if i % 2 == 0:
            height = HEIGHT - TOP - BOTTOM
            yield f'<rect class="phase" x="{start:.1f}" y="{TOP}" width="{end - start:.1f}" height="{height}"/>'
        place, anchor = (start, "start") if end - start < _NARROW else ((start + end) / 2, "middle")
        yield f'<text x="{place:.1f}" y="{TOP - 8}" text-anchor="{anchor}">{escape(span.phase)}</text>'


def _band(points: list[int], band: Band, axes: _Axes) -> str:
    """Returns a band as an area from its upper edge down to the ground, over which the bands below are drawn.

    Only its corners are written.
    """
    path, before = [f"M{axes.x(0):.1f} {axes.y(0):.1f}"], ""
    for point, top in zip(points, band.tops, strict=True):
        y = f"{axes.y(top):.1f}"
        if y != before:
            path.append(f"H{axes.x(point):.1f}V{y}")
            before = y
    path.append(f"H{axes.x(axes.num_events):.1f}V{axes.y(0):.1f}Z")
    return f'<path class="band" style="color:{band.category.colour}" d="{"".join(path)}"/>'


def _axis(picture: Picture, axes: _Axes) -> Iterator[str]:
    for num_bytes, text in picture.ticks:
        y = axes.y(num_bytes)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    yield f'<text x="{LEFT - 8}" y="{TOP - 8}" text-anchor="end">GiB</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">allocations and frees, in order</text>'
    yield from (
        f'<line class="edge" x1="{axes.x(span.start):.1f}" x2="{axes.x(span.start):.1f}" y1="{TOP}" '
        f'y2="{HEIGHT - BOTTOM}"/>'
        for span in picture.timeline.spans[1:]
    )


def _lines(picture: Picture, axes: _Axes) -> Iterator[str]:
    right = WIDTH - RIGHT
    levels = [TOP if line.beyond else axes.y(line.num_bytes) for line in picture.lines]
    for line, level, place in zip(picture.lines, levels, spread(levels, _LINE_HEIGHT), strict=True):
        if not line.beyond:
            yield f'<line class="{line.kind}" x1="{LEFT}" x2="{right}" y1="{level:.1f}" y2="{level:.1f}"/>'
            yield f'<path class="leader" d="M{right} {level:.1f}L{right + 10} {place:.1f}"/>'
        yield f'<text class="{line.kind}" x="{right + 14}" y="{place + 4:.1f}">{escape(line.label)}</text>'
    x, y = axes.x(picture.peak + 0.5), axes.y(picture.lines[0].num_bytes)
    yield f'<circle class="peak" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
