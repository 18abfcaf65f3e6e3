"""Draws what a process takes over the micro-batch and over the length of sequences, against the budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hardware import GIB
from planner.answers.curves import Curves, Point
from planner.pages.charts.lines import Chart, Level, Series
from planner.pages.charts.scale import length, short
from planner.pages.subjects import Subject
from planner.report.parts.format import gib, plural


def by_micro_batch(subjects: Sequence[Subject]) -> str:
    """Returns the chart over the micro-batch; empty where nothing can be resolved here."""
    drawn = list(_drawn(subjects))
    if not drawn:
        return ""
    return Chart(
        "Memory of a process over the micro-batch",
        "micro-batch, sequences per GPU",
        "GiB of one GPU",
        [_series(s, c.by_micro_batch, s.row.plan.micro_batch_size, "sequence") for s, c in drawn],
        _budgets(subjects),
        short,
        short,
        False,
    ).draw()


def by_length(subjects: Sequence[Subject]) -> str:
    """Returns the chart over the length; empty where no model is known at other lengths."""
    drawn = [(subject, found) for subject, found in _drawn(subjects) if found.by_length]
    if not drawn:
        return ""
    return Chart(
        "Memory of a process over the length of sequences",
        "tokens per sequence, at each plan's micro-batch",
        "GiB of one GPU",
        [_series(s, c.by_length, s.row.request.sequence_length, "token") for s, c in drawn],
        _budgets(subjects),
        length,
        short,
        True,
    ).draw()


def _drawn(subjects: Sequence[Subject]) -> Iterator[tuple[Subject, Curves]]:
    return ((subject, subject.curves) for subject in subjects if subject.curves is not None)


def _series(subject: Subject, points: Sequence[Point], chosen: int, noun: str) -> Series:
    own = subject.row.plan.memory.process_bytes
    said = f"{subject.label}: {plural(chosen, noun)}, {gib(own)} GiB"
    curve = [(point.at, point.process_bytes / GIB) for point in points]
    return Series(subject.row.group, curve, (), (chosen, own / GIB), gib(own), said)


def _budgets(subjects: Sequence[Subject]) -> list[Level]:
    """Returns the budget that all share, or those of the plans in their colors."""
    budgets = {subject.row.plan.memory.budget_bytes for subject in subjects}
    if len(budgets) == 1:
        return [Level(budget / GIB, f"budget {gib(budget)}", None) for budget in budgets]
    found = {s.row.plan.memory.budget_bytes: s.row.group for s in reversed(subjects)}
    return [Level(budget / GIB, f"budget {gib(budget)}", group) for budget, group in found.items()]
