"""Draws what the seconds of a step go to."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from planner.pages.charts.bars import Segment, bar, legend
from planner.pages.subjects import Subject
from planner.report.parts.format import rounded_percent, seconds
from planner.report.parts.times import NAMES, SMALLEST


def shares(subjects: Sequence[Subject]) -> str:
    """Returns a bar for each plan; empty where no answer has shares."""
    shown = [(subject, subject.row.plan.time) for subject in subjects]
    found = [(subject, time, time.shares) for subject, time in shown if time.shares is not None]
    if not found:
        return ""
    rows = ""
    for subject, time, parts in found:
        said = {name: getattr(parts, name) for name in NAMES}
        segments = [Segment(f"t-{n}", share, f"{NAMES[n]} {rounded_percent(share)}") for n, share in said.items()]
        rows += (
            f'<div><span><i class="swatch g{subject.row.group}"></i>{escape(subject.label)}</span>'
            f"<data>{seconds(time.step_seconds)}</data>{bar(segments)}<small>{_spelled(said)}</small></div>"
        )
    present = [name for name in NAMES if any(getattr(parts, name) >= SMALLEST for _, _, parts in found)]
    return f'<div class="bars">{rows}</div>{legend([(f"t-{name}", NAMES[name], "") for name in present])}'


def _spelled(said: dict[str, float]) -> str:
    """Returns the shares that one sees, largest first."""
    seen = sorted((-share, NAMES[name]) for name, share in said.items() if share >= SMALLEST)
    return ", ".join(f"{name} {rounded_percent(-share)}" for share, name in seen)
