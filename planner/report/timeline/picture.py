"""Computes what every picture of a timeline shows: points, bands, lines, axis and words."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from hardware import GIB
from planner.records.verification import Verification
from planner.report.parts import words
from planner.report.parts.categories import CATEGORIES, Category
from planner.report.parts.format import gib, grouped

if TYPE_CHECKING:
    from planner.replay.recording.timeline import Timeline

DECIMALS = 2
"""Decimals of GiB."""
MOST_POINTS = 2000
"""Most points that are drawn: more than a screen has columns."""
_KEPT_OF_A_COLUMN = 4
"""Points that are kept of one column: first, smallest, largest and last."""
_FARTHEST_BUDGET = 1.6
"""Largest ratio of the budget to everything else at which it is drawn. A larger one would press the picture to the
ground, so the budget is only named."""
_AIR = 1.04
"""Height of the picture relative to the highest level in it."""
_TICKS = 6
"""Most intervals between ticks of the axis."""


class Band(NamedTuple):
    """Holds one category over the points; bands stand on each other, the first at the bottom."""

    category: Category
    num_bytes: list[int]
    """Bytes of the category after each point."""
    tops: list[int]
    """Upper edges in bytes: the category's own on top of those of the bands below."""
    at_peak: int
    """Bytes of the category at the peak."""


class Line(NamedTuple):
    """Holds a level across the picture."""

    kind: str
    """`peak`, `reserved` or `budget`."""
    num_bytes: int
    beyond: bool
    """Whether the level is above the picture."""

    @property
    def label(self) -> str:
        """Returns the text at the right end of the line."""
        return f"{'↑ ' if self.beyond else ''}{self.kind} {gib(self.num_bytes, DECIMALS)} GiB"


class Picture(NamedTuple):
    """Holds everything that a picture shows."""

    title: str
    strategy: str
    verdict: str
    explanation: str
    timeline: Timeline
    points: list[int]
    """Numbers of the changes that are drawn, the peak among them."""
    bands: list[Band]
    lines: list[Line]
    peak: int
    """Number of the change with the peak."""
    height_bytes: int
    """Bytes from the bottom to the top of the picture."""
    ticks: list[tuple[int, str]]
    """Bytes of each tick, and its text in GiB."""


def picture_of(timeline: Timeline, verification: Verification) -> Picture:
    """Returns the picture of a replayed step."""
    peak, points = timeline.peak, thinned(timeline)
    lines, height = _lines(timeline.changes[peak].total_bytes, verification)
    return Picture(
        title=words.subject(verification.request),
        strategy=words.strategy(verification.plan.strategy, verification.plan.data_parallel_size),
        verdict=_verdict(verification),
        explanation=_explanation(timeline, verification),
        timeline=timeline,
        points=points,
        bands=list(_bands(timeline, points, peak)),
        lines=lines,
        peak=peak,
        height_bytes=height,
        ticks=_ticks(height),
    )


def thinned(timeline: Timeline) -> list[int]:
    """Returns the numbers of the changes to draw, such that the picture looks like that of all changes.

    They are the first, smallest, largest and last point of every column. Source: the M4 aggregation of Jugel et al.,
    "M4: A Visualization-Oriented Time Series Data Aggregation", VLDB 2014.

    Args:
        timeline: All changes.
    """
    totals = [change.total_bytes for change in timeline.changes]
    columns = max(1, MOST_POINTS // _KEPT_OF_A_COLUMN - len(timeline.spans))
    width = -(-len(totals) // columns)
    kept: set[int] = set()
    for span in timeline.spans:
        for start in range(span.start, span.end, width):
            column = range(start, min(start + width, span.end))
            kept |= {column[0], min(column, key=totals.__getitem__), max(column, key=totals.__getitem__), column[-1]}
    return sorted(kept)


def spread(places: list[float], apart: float) -> list[float]:
    """Returns places for labels, counted from the top: a label that is too near to another one moves down.

    Args:
        places: Places where the labels belong, in any unit.
        apart: Least distance between two labels.
    """
    found = list(places)
    for above, below in pairwise(sorted(range(len(places)), key=places.__getitem__)):
        found[below] = max(found[below], found[above] + apart)
    return found


def _bands(timeline: Timeline, points: list[int], peak: int) -> Iterator[Band]:
    categories = {category.field: category for category in CATEGORIES}
    tops = [0] * len(points)
    for i, name in enumerate(timeline.categories):
        if any(change.live[i] for change in timeline.changes):
            num_bytes = [timeline.changes[point].live[i] for point in points]
            tops = [top + size for top, size in zip(tops, num_bytes, strict=True)]
            yield Band(categories[name], num_bytes, tops, timeline.changes[peak].live[i])


def _lines(peak_bytes: int, verification: Verification) -> tuple[list[Line], int]:
    reserved, budget = verification.reserved_bytes, verification.reservable_bytes
    needed = max(peak_bytes, reserved)
    beyond = budget > _FARTHEST_BUDGET * needed
    height = round(_AIR * (needed if beyond else max(needed, budget)))
    return [Line("peak", peak_bytes, False), Line("reserved", reserved, False), Line("budget", budget, beyond)], height


def _ticks(height_bytes: int) -> list[tuple[int, str]]:
    """Returns about six round numbers of GiB, which are 1, 2 or 5 times a power of ten apart."""
    height = height_bytes / GIB
    steps = [(factor * 10.0**power, max(0, -power)) for power in range(-6, 6) for factor in (1, 2, 5)]
    step, decimals = next(found for found in steps if height / found[0] <= _TICKS)
    return [(round(i * step * GIB), f"{i * step:.{decimals}f}") for i in range(int(height / step) + 1)]


def _verdict(verification: Verification) -> str:
    fits = "fits" if verification.fits else "does not fit"
    budget = verification.plan.memory.budget_bytes
    return f"{fits}: {gib(verification.process_bytes, DECIMALS)} of {gib(budget, DECIMALS)} GiB"


def _explanation(timeline: Timeline, verification: Verification) -> str:
    outside = gib(verification.process_bytes - verification.reserved_bytes, DECIMALS)
    return (
        f"Live tensors after each of the {grouped(len(timeline.changes) - 1)} allocations and frees in a steady step. "
        "reserved: the most that torch's caching allocator would hold for them, in whole blocks. "
        f"budget: what it may hold, beside {outside} GiB of CUDA context and communicators."
    )
