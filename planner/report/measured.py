"""Renders the answer of `measured`: what runs measured beside what was predicted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from planner.records.measurement import Deviation, MeasuredRun, Measurement
from planner.report.parts.blocks import Wrapped, notes
from planner.report.parts.format import gib, grouped, plural, seconds, seconds_between
from planner.report.parts.table import Column, table_lines

DECIMALS = 2
"""Decimals of GiB."""


class MeasuredReport(NamedTuple):
    """Draws the runs of a file, the latest last."""

    result: Measurement

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, run in enumerate(self.result.runs):
            if number:
                yield ""
            yield Wrapped(_subject(run), "bold", indent=0)
            yield from _table(run.deviations)
            yield Wrapped(_losses(run))
            yield from notes(run.notes)


def _subject(run: MeasuredRun) -> str:
    planned, line = run.line.predicted, run.line
    ran = "" if line.gpu is None else f", ran on {line.gpu}"
    return f"{planned.model}, planned for {planned.gpus} x {planned.gpu}{ran}, {plural(line.steps, 'step')}"


def _table(deviations: tuple[Deviation, ...]) -> Iterator[Text]:
    if not deviations:
        return
    heading, lines = table_lines(
        [
            Column("peaks, GiB", [d.name for d in deviations]),
            Column("predicted", [_shown(d, d.predicted) for d in deviations], right=True),
            Column("measured", [_shown(d, d.measured) for d in deviations], right=True),
            Column("difference", [f"{100 * d.difference:+.1f}%" for d in deviations], right=True),
        ]
    )
    yield from (heading, *lines)


def _shown(deviation: Deviation, value: float) -> str:
    return seconds(value) if deviation.name == "step" else gib(value, DECIMALS)


def _losses(run: MeasuredRun) -> str:
    line = run.line
    said = [f"effective batch {grouped(line.global_batch_size)}"]
    said += [f"{grouped(line.trained_parameters)} parameters train"] if line.trained_parameters is not None else []
    said += [f"loss {line.losses[0]:.3f} to {line.losses[-1]:.3f}"] if line.losses else []
    low, high = line.predicted.step_seconds_low, line.predicted.step_seconds_high
    timed = any(deviation.name == "step" for deviation in run.deviations)
    return ", ".join([*said, *([f"step predicted within {seconds_between(low, high)}"] if timed else ())])
