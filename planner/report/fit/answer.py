"""Renders the answer of `fit`: the plans side by side, then the one to run, last above the prompt, on one screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from planner.records.plan import Plan
from planner.records.result import FitResult
from planner.report.fit.picked import LEAST, of_front, picked
from planner.report.fit.ranking import ranking
from planner.report.fit.to_run import speed, takes, to_run
from planner.report.parts import words
from planner.report.parts.blocks import Wrapped, first_notes, height, notes
from planner.report.parts.format import grouped, plural, seconds
from planner.report.parts.table import INDENT, table_lines
from planner.report.ways import first_way_lines, step_lines, way_lines
from strategies import LARGEST_USUAL_BATCH, Objective

LINES = 23
"""Lines of a terminal of usual size, 24, without that of the prompt."""
MOST_USUAL = 3
"""Most plans at a usual effective batch that are shown on one screen."""
TITLES = {
    Objective.BATCH: "largest effective batch",
    Objective.THROUGHPUT: "most tokens per second",
    Objective.COST: "lowest price per token",
    Objective.MEMORY: "least memory",
}
"""Titles of the plans of each objective."""


class FitReport(NamedTuple):
    """Draws the plans that were found."""

    result: FitResult
    command: Sequence[str] = ()
    """Arguments of the command that asked, from which the line is made that goes on; none for no such line."""
    full: bool = False
    """Whether all plans, notes and reasons are shown, on as many lines as they take."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        result = self.result
        head = list(self._head())
        if not result.plans:
            lines = self._short() if result.fastest is None else self._over(result.fastest)
            yield from (*head, "", *lines, *notes(result.notes), "", *self._searched())
            yield from self._ways(console)
            return
        last = list(self._last(options.max_width))
        for more in self._more():
            room = LINES - height(console, *head, *more, *last) - 1  # and what was searched
            table = self._fitting(console, options.max_width, room, 1 if more else LEAST)
            if self.full or height(console, *table) <= room:
                break
        told = list(first_notes(console, result.plan_notes or result.notes, room - height(console, *table)))
        yield from (*head, *table, *self._searched(len(result.notes) - len(told)))
        yield from notes(result.notes if self.full else told, spaced=self.full)
        yield from (*more, *last)

    def _head(self) -> Iterator[RenderableType]:
        result = self.result
        shown = result.plans or ((result.shortfall.smallest,) if result.shortfall else ())
        yield Wrapped(words.subject(result.request), "bold", indent=0)
        yield Wrapped(words.workload(result.request, shown[0].memory.budget_bytes if shown else None), indent=0)

    def _ways(self, console: Console) -> Iterator[RenderableType]:
        """Yields the ways out, as many as a screen has room for above the prompt."""
        ways = self.result.shortfall.ways if self.result.shortfall is not None else ()
        if self.full:
            return way_lines(ways)
        return first_way_lines(ways, partial(height, console), LINES)

    def _short(self) -> Iterator[RenderableType]:
        from planner.report.fit.shortfall import shortfall_lines  # only where nothing fits

        return shortfall_lines(self.result)

    def _over(self, fastest: Plan) -> Iterator[RenderableType]:
        """Yields that no plan is within the limits of the run, and what the fastest one takes."""
        request = self.result.request
        deadline = "" if request.deadline_seconds is None else f"{seconds(request.deadline_seconds)}"
        budget = "" if request.budget_usd is None else f"{request.budget_usd:,.2f} USD"
        limits = " and ".join(limit for limit in (deadline, budget) if limit)
        says = f" within {limits}. The fastest plan that fits takes {takes(fastest)}:"
        yield Wrapped(Text.assemble(("No run ends", "bold red"), says), indent=0)
        yield Wrapped(words.strategy(fastest.strategy, fastest.data_parallel_size))
        yield Wrapped(speed(fastest))

    def _more(self) -> Iterator[list[RenderableType]]:
        """Yields what is said of a change that would help: all of it, without its command, nothing."""
        if self.result.step_more is not None:
            yield list(step_lines(self.result.step_more))
            yield list(step_lines(self.result.step_more, brief=True))
        yield []

    def _last(self, width: int) -> Iterator[RenderableType]:
        yield ""
        yield from to_run(self.result, self.command, width)
        if self.result.verification is not None:
            from planner.report.verify import verdict  # only where plans are replayed

            yield verdict(self.result.verification)

    def _fitting(self, console: Console, width: int, room: int, least: int = LEAST) -> list[RenderableType]:
        """Returns the table, cut to the number of lines as far as possible, with a few of the best plans at least."""
        table = list(self._table(width, room - 1, least))
        if (over := height(console, *table) - room) > 0:  # a caption of several lines
            table = list(self._table(width, room - 1 - over, least))
        return table

    def _table(self, width: int, room: int, least: int) -> Iterator[RenderableType]:
        sections = self._sections(room, least)
        plans = [plan for _, section in sections for plan in section]
        columns, gap, caption = ranking(plans, self.result.numbered(), width, self.result.recommended)
        heading, rows = table_lines(columns, gap)
        yield heading
        remaining = iter(rows)
        for title, section in sections:
            yield Text(" " * INDENT + title, style="dim italic")
            for _ in section:
                yield next(remaining)
        yield Wrapped(caption, "dim")

    def _sections(self, room: int, least: int) -> list[tuple[str, Sequence[Plan]]]:
        """Returns the plans of the table with a title for each group of them.

        Args:
            room: Lines for the heading, the titles and the plans.
            least: Fewest plans beside those at a usual effective batch.
        """
        result = self.result
        batch = result.usual[0].global_batch_size if result.usual else 0
        most = max(1, min(MOST_USUAL, room - least - 3))  # beside a heading and two titles
        usual = result.usual if self.full else result.usual[:most]
        sections: list[tuple[str, Sequence[Plan]]] = []
        if usual:
            sections.append((f"fastest of each method at a usual effective batch, {grouped(batch)}", usual))
            room -= len(usual) + 1
        if result.front:
            shown = result.front if self.full else of_front(result, room - 2)
            of = "" if len(shown) == len(result.front) else f", {len(shown)} of {grouped(len(result.front))}"
            return [*sections, (f"the front of effective batch, speed and memory{of}", shown)]
        found: Sequence[Plan] = result.listed if self.full else picked(result, room - 2, least)
        if self._is_front and not self.full:
            found = result.plans[: max(LEAST, room - 2)]
        others = [plan for plan in found if plan not in usual]
        return [*sections, (self._title(others), others)] if others else sections

    def _warned(self, shown: Sequence[Plan]) -> str:
        """Returns words on batches that are large for LoRA, on which there is a note."""
        large = any(words.has_adapters(p.strategy) and p.global_batch_size > LARGEST_USUAL_BATCH for p in shown)
        return ("; large ones cost LoRA quality" + (", see the note" if self.full else ": --notes")) if large else ""

    def _title(self, shown: Sequence[Plan]) -> str:
        request, searched = self.result.request, self.result.searched
        tried = "" if searched.sampler is None else ", of those that were tried"
        if self._is_front:
            return f"the front of batch, speed and headroom{tried}"
        objective = request.objective or Objective.BATCH
        wanted = self.result.plans[0].global_batch_size
        is_open = request.global_batch_size is None and request.tokens_per_step is None
        if objective is Objective.BATCH:
            title = self._largest() if is_open else f"fastest at an effective batch of {grouped(wanted)}"
            return title + tried + (self._warned(shown) or _ordered(shown))
        same = not is_open or (objective is Objective.MEMORY and not self.result.usual)
        return TITLES[objective] + (f" at an effective batch of {grouped(wanted)}" if same else "") + tried

    def _largest(self) -> str:
        """Returns the title of the largest batches, with their bound where plans at a usual batch go beyond it."""
        usual, largest = self.result.usual, self.result.plans[0]
        if not usual or usual[0].global_batch_size <= largest.global_batch_size:
            return TITLES[Objective.BATCH]
        return f"{TITLES[Objective.BATCH]} in {plural(largest.gradient_accumulation_steps, 'accumulation step')}"

    @property
    def _is_front(self) -> bool:
        sampler = self.result.searched.sampler
        return sampler is not None and sampler.facts.is_multi_objective

    def _searched(self, untold: int = 0) -> Iterator[RenderableType]:
        searched, rejected = self.result.searched, self.result.rejected
        text = f"searched {grouped(searched.strategies)} strategies in {seconds(searched.seconds)}"
        if searched.trials is not None:
            text += f" by {plural(searched.trials, 'trial')} ({searched.sampler})"
        text += f", {grouped(searched.feasible)} {'plans on the front' if self._is_front else 'fit'}"
        if untold and not self.full:
            text += f"; {plural(untold, 'more note')}: --notes"
        yield Wrapped(text, "dim")
        if rejected and (self.full or not self.result.plans):
            counted = sorted(rejected.items(), key=lambda item: -item[1])
            reasons = "; ".join(f"{reason} ({grouped(number)})" for reason, number in counted)
            yield Wrapped(reasons, "dim", prefix="rejected: ")


def _ordered(shown: Sequence[Plan]) -> str:
    """Returns words on the order, where plans that put more at risk come behind others, however good they are."""
    return ", those with less at risk first" if len({len(plan.risks) for plan in shown}) > 1 else ""
