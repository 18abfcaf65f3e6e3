"""Draws all plans by effective batch and tokens per second."""

from __future__ import annotations

from collections.abc import Sequence

from planner.pages.charts.points import Points
from planner.pages.charts.scale import powers
from planner.pages.rows import Row
from planner.report.parts.format import grouped


def front(rows: Sequence[Row]) -> str:
    """Returns the chart; empty where there is one plan alone."""
    shown = [row for row in rows if row.plan.memory.fits]
    if len(shown) < 2:
        return ""
    return Points(
        "Effective batch, tokens per second and free memory of all plans",
        "effective batch, sequences",
        shown,
        lambda row: row.plan.global_batch_size,
        powers,
        grouped,
        lambda row: row.on_front,
        True,
    ).draw()
