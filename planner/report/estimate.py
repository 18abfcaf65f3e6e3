"""Renders the answer of `estimate`: the memory of one plan, itemized."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from planner.records.asked.request import left_free
from planner.records.plan import Memory
from planner.records.result import EstimateResult
from planner.report.parts import words
from planner.report.parts.bars import simple
from planner.report.parts.blocks import Filling, Wrapped, free_share, notes, of_budget, of_host, on_host, usable_width
from planner.report.parts.categories import category_bytes
from planner.report.parts.format import gib, gib_difference, gib_parts, percent, short_percent
from planner.report.parts.table import GAP, INDENT, Column, table_lines
from planner.report.parts.times import times
from planner.report.ways import way_lines

DECIMALS = 2
"""Decimals of GiB: one more than elsewhere, since an account has small lines, too."""
PEAK = " peak"
"""Mark behind the bar of the moment with the peak."""


class EstimateReport(NamedTuple):
    """Draws the memory of one plan."""

    result: EstimateResult

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        result = self.result
        for text, style in (
            (words.subject(result.request), "bold"),
            (words.strategy(result.strategy, result.data_parallel_size), ""),
            (batch_text(result), ""),
        ):
            yield Wrapped(text, style, indent=0)
        yield ""
        yield Wrapped(verdict(result))
        yield Filling(result.memory, with_legend=False)
        yield from on_host(result.memory)
        yield ""
        yield from self._components(options.ascii_only)
        yield ""
        yield from self._totals()
        yield ""
        yield from self._moments(usable_width(options), options.ascii_only)
        yield ""
        yield from times(result.time, result.data_parallel_size)
        yield from notes(result.notes)
        yield from way_lines(result.ways)

    def _totals(self) -> Iterator[Text]:
        memory, request = self.result.memory, self.result.request
        is_less = memory.budget_bytes < request.gpu_memory_bytes
        less = f" less {short_percent(left_free(request.headroom))} headroom" if is_less else ""
        lines = (
            ("allocated", memory.allocated_bytes, "torch.cuda.max_memory_allocated()"),
            ("reserved", memory.reserved_bytes, "what the caching allocator needs for that"),
            *_on_a_larger_gpu(memory),
            ("process", memory.process_bytes, "nvidia-smi: with CUDA context and NCCL buffers"),
            ("budget", memory.budget_bytes, f"what may be filled: usable memory{less}"),
        )
        heading, rows = table_lines(
            [
                Column("memory of one GPU", [name for name, _, _ in lines]),
                _gib_column(gib(num_bytes, DECIMALS) for _, num_bytes, _ in lines),
                Column("", [meaning for _, _, meaning in lines], style="dim"),
            ]
        )
        yield from (heading, *rows)

    def _moments(self, width: int, ascii_only: bool) -> Iterator[Text]:
        memory = self.result.memory
        names = Column("moments of a step, allocated", [words.moment(name) for name in memory.moments])
        numbers = _gib_column(gib(num_bytes, DECIMALS) for num_bytes in memory.moments.values())
        room = width - INDENT - names.width - numbers.width - 2 * GAP - len(PEAK) - INDENT
        largest = max(memory.moments.values(), default=0)
        bars = [simple(num_bytes, largest, room, ascii_only=ascii_only) for num_bytes in memory.moments.values()]
        marks = [PEAK if name == memory.moment else "" for name in memory.moments]
        drawn = Column("", [bar + mark for bar, mark in zip(bars, marks, strict=True)], style="blue")
        heading, rows = table_lines([names, numbers, drawn])
        yield heading
        for row, mark in zip(rows, marks, strict=True):
            if mark:
                row.stylize("bold red")
            yield row

    def _components(self, ascii_only: bool) -> Iterator[Text]:
        memory = self.result.memory
        present = category_bytes(memory.components)
        sizes = [num_bytes for _, num_bytes in present]
        rest = "free" if memory.process_bytes <= memory.budget_bytes else "over the budget"
        labels = [f"{category.character(ascii_only)} {category.label}" for category, _ in present]
        shares = [percent(size / (memory.process_bytes or 1)) for size in [*sizes, memory.process_bytes]]
        low, high = sorted((memory.budget_bytes, memory.process_bytes))
        totals = [
            gib(memory.process_bytes, DECIMALS),
            gib_difference(high, low, DECIMALS),
            gib(memory.budget_bytes, DECIMALS),
        ]
        heading, rows = table_lines(
            [
                Column(f"at the peak, {words.moment(memory.moment)}", [*labels, "process", rest, "budget"]),
                _gib_column([*gib_parts(sizes, DECIMALS), *totals]),
                Column("share", [*shares, "", ""], right=True),
            ]
        )
        yield heading
        for row, (category, _) in zip(rows, present, strict=False):
            row.stylize(category.style, INDENT, INDENT + 1)
        for i in (len(present), len(rows) - 1):
            rows[i].stylize("bold")
        yield from rows


def batch_text(result: EstimateResult) -> str:
    """Returns the effective batch of a step of the optimizer, and the length of its sequences."""
    sequences = "sequence" if result.global_batch_size == 1 else "sequences"
    return (
        f"{words.spelled_batch(words.batch_numbers(result))} {sequences} of "
        f"{words.lengths(result.request)} per step (micro x accum x ranks)"
    )


def verdict(result: EstimateResult) -> Text:
    """Returns whether a plan fits, with what it takes of the budget."""
    memory = result.memory
    if memory.fits:
        tight = ", tight: a search leaves 5%" if result.is_tight else ""
        return Text.assemble(("fits", "bold green"), f": {of_budget(memory)}, {free_share(memory)} free{tight}")
    if memory.process_bytes <= memory.budget_bytes and memory.host is not None:
        needed = f" into the host's memory: {of_host(memory.host)}; {of_budget(memory)} of the GPU"
        return Text.assemble(("does not fit", "bold red"), needed)
    over = f"{gib_difference(memory.process_bytes, memory.budget_bytes)} too many{_for_headroom(result)}"
    return Text.assemble(("does not fit", "bold red"), f": {of_budget(memory)}, {over}")


def _for_headroom(result: EstimateResult) -> str:
    """Says a headroom, in whole percent, with which a process fits that is beyond the budget alone."""
    memory, request = result.memory, result.request
    left = (request.gpu_memory_bytes - memory.process_bytes) * 100 // request.gpu_memory_bytes
    on_host = memory.host is None or memory.host.fits
    return f"; fits with --headroom {left}%" if 0 <= left < 100 * left_free(request.headroom) and on_host else ""


def _on_a_larger_gpu(memory: Memory) -> Iterator[tuple[str, int, str]]:
    """Yields the line of what the allocator reserves where memory is plenty, if that is more than what suffices."""
    unlimited = memory.unlimited_reserved_bytes
    if unlimited is not None and unlimited > memory.reserved_bytes:
        yield "  with room", unlimited, "torch.cuda.max_memory_reserved() on a larger GPU"


def _gib_column(numbers: Iterable[str]) -> Column:
    return Column("GiB", list(numbers), right=True)
