"""Writes SVG: elements as text, and the frame, grid and axes that charts share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from typing import NamedTuple

from planner.pages.charts.place import TEXT, Label
from planner.pages.charts.scale import Scale, text_width

SHAPES = ("circle", "square", "diamond", "triangle", "down", "cross")
"""Marks of the colors, so that either is enough to tell plans apart."""


class Size(NamedTuple):
    """The size of a chart, in pixels at which its letters have their own size."""

    name: str
    """Class of the element: the page shows the one that has room."""
    width: int
    height: int


SIZES = (Size("wide", 520, 300), Size("narrow", 312, 250))
"""Every chart is drawn for half a desktop's page and for a phone, so that its letters are never scaled."""
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 26, 44


def both(draw: Callable[[Size], Iterable[str]], title: str) -> str:
    """Returns a chart in both sizes.

    Args:
        draw: Yields the elements of a chart of a size.
        title: What the chart shows, for readers who do not see it.
    """
    return "\n".join(
        f'<svg class="{size.name}" viewBox="0 0 {size.width} {size.height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(draw(size))}</svg>"
        for size in SIZES
    )


def text(words: str, x: float, y: float, anchor: str = "start", kind: str = "") -> str:
    """Returns a text element."""
    named = f' class="{kind}"' if kind else ""
    anchored = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{anchored}{named}>{escape(words)}</text>'


def label(placed: Label, kind: str = "") -> str:
    """Returns a label where it was placed."""
    return text(placed.text, placed.x, placed.y, kind=kind)


def line(points: Sequence[tuple[float, float]], kind: str) -> str:
    """Returns a line through points."""
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def area(points: Sequence[tuple[float, float]], kind: str) -> str:
    """Returns a filled area."""
    return f'<polygon class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def mark(group: int, x: float, y: float, radius: float, kind: str, said: str = "") -> str:
    """Returns the mark of a color at a point, with what is said when one points at it."""
    shape, r = SHAPES[group % len(SHAPES)], radius
    tip = f' tabindex="0" data-tip="{escape(said)}"' if said else ""
    attributes = f'class="g{group} {kind}"{tip}'
    if shape == "circle":
        return f'<circle {attributes} cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}"/>'
    return f'<path {attributes} d="{_outline(shape, x, y, r)}"/>'


def _outline(shape: str, x: float, y: float, r: float) -> str:
    """Returns the path of a mark with about the area of a circle of that radius."""
    square, large, bar = 0.88 * r, 1.25 * r, 0.4 * r
    corners = {
        "square": ((-square, -square), (square, -square), (square, square), (-square, square)),
        "diamond": ((0, -large), (large, 0), (0, large), (-large, 0)),
        "triangle": ((0, -large), (1.2 * r, 0.85 * r), (-1.2 * r, 0.85 * r)),
        "down": ((0, large), (1.2 * r, -0.85 * r), (-1.2 * r, -0.85 * r)),
        "cross": (
            (-bar, -large), (bar, -large), (bar, -bar), (large, -bar), (large, bar), (bar, bar),
            (bar, large), (-bar, large), (-bar, bar), (-large, bar), (-large, -bar), (-bar, -bar),
        ),
    }[shape]  # fmt: skip
    return "M" + "L".join(f"{x + dx:.1f} {y + dy:.1f}" for dx, dy in corners) + "Z"


class Axis(NamedTuple):
    """An axis: its scale, the numbers along it, how they are written, and what it is of."""

    scale: Scale
    ticks: Sequence[float]
    write: Callable[[float], str]
    title: str


def axes(size: Size, x: Axis, y: Axis) -> Iterator[str]:
    """Yields grid, numbers and titles of both axes; numbers that would touch the one before are left out."""
    right, ground = size.width - RIGHT, size.height - BOTTOM
    for tick in y.ticks:
        place = y.scale(tick)
        yield f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{place:.1f}" y2="{place:.1f}"/>'
        yield text(y.write(tick), LEFT - 8, place + 4, "end", "tick")
    end = float("-inf")
    for tick in x.ticks:
        place, half = x.scale(tick), text_width(x.write(tick), TEXT) / 2
        if place - half < end + 6 or place + half > size.width:
            continue
        end = place + half
        yield f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{ground}" y2="{ground + 4}"/>'
        yield text(x.write(tick), place, ground + 17, "middle", "tick")
    yield f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{ground}" y2="{ground}"/>'
    yield text(y.title, 2, 13, kind="title")
    yield text(x.title, (LEFT + right) / 2, size.height - 8, "middle", "title")
