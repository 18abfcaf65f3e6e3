"""Draws one plan in characters: the moments of its step, and memory and speed over micro-batch and length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from hardware import GIB
from planner.answers.curves import AtMoment, Curves
from planner.records.plan import Plan
from planner.report.parts import words
from planner.report.parts.bars import stacked
from planner.report.parts.blocks import Wrapped, usable_width
from planner.report.parts.categories import FREE, category_bytes
from planner.report.parts.format import gib, grouped, thousands
from planner.report.parts.table import GAP, INDENT
from planner.report.plots.chart import Chart

_NARROWEST_PAIR = 72
"""Width of the terminal, in columns, from which on two charts stand side by side."""


class PlanPlot(NamedTuple):
    """Draws the curves of a plan."""

    plan: Plan
    curves: Curves
    sequence_length: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = usable_width(options) - INDENT
        yield ""
        yield from self._moments(width, options.ascii_only)
        for left, right in self._charts():
            yield ""
            yield from _beside(left, right, width, options.ascii_only)
        marks = "O the plan, - the budget" if options.ascii_only else "● the plan, ╌ the budget"
        yield _indented(Text(marks, "dim"))

    def _moments(self, width: int, ascii_only: bool) -> Iterator[RenderableType]:
        """Yields a bar for each moment; its end is the budget, or what the peak takes where that is more."""
        budget, moments = self.plan.memory.budget_bytes, self.curves.moments
        whole = max(budget, *(moment.process_bytes for moment in moments))
        names = [words.moment(moment.name) for moment in moments]
        label = max(map(len, names))
        room = width - label - 2 * GAP - 6
        title = f"what the process needs at each moment, of {gib(budget)} GiB"
        yield Wrapped(title, "bold")
        for name, moment in zip(names, moments, strict=True):
            bar = _bar(moment, budget, whole, room, ascii_only)
            style = "bold" if moment.is_peak else ""
            number = gib(moment.process_bytes).rjust(6)
            yield _indented(
                Text.assemble((name.ljust(label), style), " " * GAP, bar, " " * GAP, (number, style), no_wrap=True)
            )

    def _charts(self) -> Iterator[tuple[Chart, Chart]]:
        """Yields memory and speed over the micro-batch, then over the length where that is known."""
        time, memory = self.plan.time.tokens_per_second, self.plan.memory
        over = [("micro-batch", self.plan.micro_batch_size, self.curves.by_micro_batch, False)]
        over.append(("tokens per sequence", self.sequence_length, self.curves.by_length, True))
        for name, chosen, points, is_log in over:
            if not points:
                continue
            yield (
                Chart(
                    f"GiB over {name}",
                    [(point.at, point.process_bytes / GIB) for point in points],
                    (chosen, memory.process_bytes / GIB),
                    memory.budget_bytes / GIB,
                    grouped,
                    grouped,
                    is_log,
                    "blue",
                ),
                Chart(
                    f"tokens/s over {name}",
                    [(point.at, point.tokens_per_second) for point in points],
                    (chosen, time),
                    None,
                    grouped,
                    thousands,
                    is_log,
                    "cyan",
                ),
            )


def _bar(moment: AtMoment, budget: int, whole: int, room: int, ascii_only: bool) -> Text:
    parts = category_bytes(moment.components)
    if moment.process_bytes < budget:
        parts.append((FREE, budget - moment.process_bytes))
    cells = max(1, round(room * max(budget, moment.process_bytes) / whole))
    bar = stacked(parts, cells, ascii_only=ascii_only)
    bar.pad_right(room - cells)
    return bar


def _beside(left: Chart, right: Chart, width: int, ascii_only: bool) -> Iterator[Text]:
    """Yields two charts side by side, or one below the other on a narrow terminal."""
    if width < _NARROWEST_PAIR:
        for chart in (left, right):
            for row in chart.rows(width, ascii_only=ascii_only):
                row.rstrip()
                yield _indented(row)
        return
    half = (width - 2 * GAP) // 2
    pairs = zip(left.rows(half, ascii_only=ascii_only), right.rows(half, ascii_only=ascii_only), strict=True)
    for one, other in pairs:
        line = Text.assemble(one, " " * 2 * GAP, other, no_wrap=True, overflow="ignore")
        line.rstrip()
        yield _indented(line)


def _indented(line: Text) -> Text:
    return Text.assemble(" " * INDENT, line, no_wrap=True, overflow="ignore")
