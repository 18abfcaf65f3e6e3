"""Renders why no plan with some value of an option comes first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from planner.records.advice import Fate, WhyNot
from planner.report.parts.blocks import Wrapped
from planner.report.ways import way_lines


class WhyNotReport(NamedTuple):
    """Draws what became of each value that was asked about."""

    asked: Sequence[WhyNot]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for one in self.asked:
            style = "bold red" if one.fate in (Fate.DOES_NOT_FIT, Fate.CANNOT_RUN) else "bold"
            yield ""
            asked = f"  {one.option}={one.value} "
            yield Wrapped(Text.assemble((asked.strip(), "bold"), " ", (one.fate.value, style), f": {one.says}"))
            yield from way_lines(one.ways, "what would pay for it")
