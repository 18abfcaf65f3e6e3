"""Draws tokens per second over the micro-batch and over the length of sequences, with the range that they are in."""

from __future__ import annotations

from collections.abc import Sequence

from planner.answers.curves import Point
from planner.pages.charts.lines import Chart, Series
from planner.pages.charts.scale import length, short
from planner.pages.subjects import Subject
from planner.report.parts.format import grouped, plural, seconds, thousands


def by_micro_batch(subjects: Sequence[Subject]) -> str:
    """Returns the chart over the micro-batch; empty where nothing can be resolved here."""
    series = [
        _series(s, s.curves.by_micro_batch, s.row.plan.micro_batch_size, "sequence")
        for s in subjects
        if s.curves is not None
    ]
    if not series:
        return ""
    return Chart(
        "Tokens per second over the micro-batch",
        "micro-batch, sequences per GPU",
        "tokens/s of all GPUs",
        series,
        (),
        short,
        short,
        False,
    ).draw()


def by_length(subjects: Sequence[Subject]) -> str:
    """Returns the chart over the length; empty where no model is known at other lengths."""
    series = [
        _series(s, s.curves.by_length, s.row.request.sequence_length, "token")
        for s in subjects
        if s.curves is not None and s.curves.by_length
    ]
    if not series:
        return ""
    return Chart(
        "Tokens per second over the length of sequences",
        "tokens per sequence, at each plan's micro-batch",
        "tokens/s of all GPUs",
        series,
        (),
        length,
        short,
        True,
    ).draw()


def _series(subject: Subject, points: Sequence[Point], chosen: int, noun: str) -> Series:
    time = subject.row.plan.time
    said = (
        f"{subject.label}: {plural(chosen, noun)}, {grouped(time.tokens_per_second)} tokens/s, "
        f"{seconds(time.step_seconds)} per optimizer step"
    )
    return Series(
        subject.row.group,
        [(point.at, point.tokens_per_second) for point in points],
        [(point.slowest, point.fastest) for point in points],
        (chosen, time.tokens_per_second),
        thousands(time.tokens_per_second),
        said,
    )
