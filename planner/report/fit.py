"""Renders the answer of `fit`.

It shows the best plan of each method, the ranking and what fills the GPU, or why nothing fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from planner.records.plan import Plan
from planner.records.result import FitResult
from planner.report.parts import words
from planner.report.parts.blocks import Filling, Wrapped, free_share, notes, of_budget, on_host
from planner.report.parts.format import grouped, plural, seconds
from planner.report.parts.table import INDENT, table_lines
from planner.report.ranking import ranking
from planner.report.shortfall import shortfall_lines
from planner.report.verify import verdict


@dataclass(frozen=True, slots=True)
class FitReport:
    """Draws the plans that were found."""

    result: FitResult

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        result = self.result
        shown = result.plans or ((result.shortfall.smallest,) if result.shortfall else ())
        budget = shown[0].memory.budget_bytes if shown else None
        yield Wrapped(words.subject(result.request), "bold", indent=0)
        yield Wrapped(words.workload(result.request, budget), indent=0)
        yield ""
        if result.plans:
            yield from self._tables(options.max_width)
            yield ""
            yield from _best(result.plans[0])
            if result.verification is not None:
                yield verdict(result.verification)
        else:
            yield from shortfall_lines(result)
        yield from notes(result.notes)
        yield ""
        yield from self._searched()

    @property
    def _is_front(self) -> bool:
        sampler = self.result.searched.sampler
        return sampler is not None and sampler.facts.is_multi_objective

    def _tables(self, width: int) -> Iterator[RenderableType]:
        best, plans = self.result.best_by_method, self.result.plans
        ranked = "all plans" if self.result.searched.sampler is None else "the best that were tried"
        if self._is_front:
            ranked = "the front of batch, speed and headroom"
        sections = [("best plan of each method", best), (f"{ranked}, by effective batch, then by speed", plans)]
        if all(plan in best for plan in plans):
            sections = sections[:1]
        columns, caption = ranking([plan for _, section in sections for plan in section], plans, width)
        heading, rows = table_lines(columns)
        yield heading
        remaining = iter(rows)
        for title, section in sections:
            if len(sections) > 1:
                yield Text(" " * INDENT + title, style="dim italic")
            for _ in section:
                yield next(remaining)
        yield Wrapped(caption, "dim")

    def _searched(self) -> Iterator[RenderableType]:
        searched, rejected = self.result.searched, self.result.rejected
        text = f"searched {grouped(searched.strategies)} strategies in {seconds(searched.seconds)}"
        if searched.trials is not None:
            text += f" by {plural(searched.trials, 'trial')} ({searched.sampler})"
        left = "plans on the front" if self._is_front else "fit"
        yield Wrapped(f"{text}, {grouped(searched.feasible)} {left}", "dim")
        if rejected:
            counted = sorted(rejected.items(), key=lambda item: -item[1])
            reasons = "; ".join(f"{reason} ({grouped(number)})" for reason, number in counted)
            yield Wrapped(reasons, "dim", prefix="rejected: ")


def _best(plan: Plan) -> Iterator[RenderableType]:
    """Yields how the best plan fills the GPU."""
    memory = plan.memory
    text = f" fills {of_budget(memory)}, {free_share(memory)} free; peak: {words.moment(memory.moment)}"
    yield Wrapped(Text.assemble(("plan 1", "bold"), text))
    yield Filling(memory)
    yield from on_host(memory)
