"""Draws the memory at each moment of a step, by category, against the budget."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from planner.answers.curves import AtMoment
from planner.pages.charts.bars import Segment, bar, legend
from planner.pages.subjects import Subject
from planner.report.parts import words
from planner.report.parts.categories import STACKED, category_bytes
from planner.report.parts.format import gib

_VISIBLE = 0.005
"""Least share of the budget of a category that the legend names."""


def moments(subject: Subject) -> str:
    """Returns a bar for each moment, in the order of a step; empty where they are not known."""
    if subject.curves is None:
        return ""
    budget, found = subject.row.plan.memory.budget_bytes, subject.curves.moments
    whole = 1.03 * max(budget, *(moment.process_bytes for moment in found))
    rows = "".join(_row(moment, budget, whole) for moment in found)
    return f'<div class="bars">{rows}</div>'


def categories(subjects: Sequence[Subject]) -> str:
    """Returns the legend of all plans, with the mark of the budget."""
    present = {
        category.field
        for subject in subjects
        if subject.curves is not None
        for moment in subject.curves.moments
        for category, num_bytes in category_bytes(moment.components)
        if num_bytes >= _VISIBLE * subject.row.plan.memory.budget_bytes
    }
    return legend(
        [*((f"c-{name}", name.replace("_", " "), "") for name in STACKED if name in present), ("limit", "budget", "")]
    )


def _row(moment: AtMoment, budget: int, whole: float) -> str:
    parts = {category.field: (category, num_bytes) for category, num_bytes in category_bytes(moment.components)}
    segments = [
        Segment(
            f"c-{name}",
            parts[name][1] / whole,
            f"{words.moment(moment.name)}: {parts[name][0].label} {gib(parts[name][1])} GiB",
        )
        for name in STACKED
        if name in parts
    ]
    kind, peak = (' class="peak"', ", the peak") if moment.is_peak else ("", "")
    return (
        f"<div{kind}><span>{escape(words.moment(moment.name))}{peak}</span>"
        f"<data>{gib(moment.process_bytes)} GiB</data>{bar(segments, budget / whole)}</div>"
    )
