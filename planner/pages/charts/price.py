"""Draws plans by price and tokens per second."""

from __future__ import annotations

from collections.abc import Sequence

from planner.pages.charts.points import Points
from planner.pages.charts.scale import rounded, short
from planner.pages.rows import Row


def price(rows: Sequence[Row]) -> str:
    """Returns the chart; empty where the prices of fewer than two machines are known."""
    shown = [row for row in rows if row.plan.memory.fits and row.plan.usd_per_million_tokens]
    if len({row.place for row in shown}) < 2:  # on one machine, the fastest plan is the cheapest
        return ""
    return Points(
        "Price, tokens per second and free memory",
        "USD per million tokens",
        shown,
        _usd,
        rounded,
        short,
        lambda row: not any(_beats(other, row) for other in shown),
        False,
    ).draw()


def _usd(row: Row) -> float:
    return row.plan.usd_per_million_tokens or 0.0


def _beats(other: Row, row: Row) -> bool:
    """Returns whether another plan is as fast and as cheap, and one of both more so."""
    mine, its = (_usd(row), -row.plan.time.tokens_per_second), (_usd(other), -other.plan.time.tokens_per_second)
    return its != mine and its[0] <= mine[0] and its[1] <= mine[1]
