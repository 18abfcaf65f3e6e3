"""Draws plans by effective batch and tokens per second in characters; each is its number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from planner.records.plan import Plan
from planner.report.parts.blocks import Wrapped, usable_width
from planner.report.parts.format import grouped, thousands
from planner.report.parts.table import INDENT
from planner.report.plots.canvas import Canvas

_HEIGHT = 11
"""Rows of the picture."""
_TITLE = "tokens/s over effective batch, by number"


class Scatter(NamedTuple):
    """Draws plans; where they meet, the recommended one stands, or the one with the smaller number."""

    plans: Sequence[Plan]
    """The plans in the order of their numbers, which begin with 1."""
    recommended: Plan
    """The one of them that is drawn first."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        highest = 1.1 * max(plan.time.tokens_per_second for plan in self.plans)
        labels = {0: thousands(highest), _HEIGHT // 2: thousands(highest / 2), _HEIGHT - 1: "0"}
        margin = max(map(len, labels.values()))
        width = usable_width(options) - INDENT - margin - 1
        canvas = Canvas(width, _HEIGHT, ascii_only=options.ascii_only)
        left_out = []
        for number, plan in sorted(enumerate(self.plans, start=1), key=lambda pair: pair[1] is not self.recommended):
            place = self._across(plan), plan.time.tokens_per_second / highest
            if canvas.is_free(*place, len(str(number))):
                canvas.mark(*place, str(number), "bold green" if plan is self.recommended else "cyan")
            else:
                left_out.append(number)
        yield ""
        yield Wrapped(_TITLE, "bold")
        axis = "|" if options.ascii_only else "│"
        for i, row in enumerate(canvas.rows()):
            label = labels.get(i, "").rjust(margin)
            line = Text.assemble(" " * INDENT, (label + axis, "dim"), row, no_wrap=True, overflow="ignore")
            line.rstrip()
            yield line
        yield from self._below(INDENT + margin + 1, width)
        if left_out:
            yield Wrapped(f"where another stands: {', '.join(map(str, left_out))}", "dim")

    def _across(self, plan: Plan) -> float:
        """Returns the place of a plan across, from 0 to 1: equal factors have equal distances."""
        batches = [other.global_batch_size for other in self.plans]
        low, high = min(batches), max(batches)
        return math.log(plan.global_batch_size / low) / math.log(high / low) if high > low else 0.5

    def _below(self, margin: int, width: int) -> Iterator[Text]:
        low, high = (grouped(f(plan.global_batch_size for plan in self.plans)) for f in (min, max))
        numbers = low + high.rjust(width - len(low)) if low != high else low.center(width).rstrip()
        yield Text(" " * margin + numbers, "dim", no_wrap=True, overflow="ignore")
