"""The answer of `verify`: a replay beside the memory model."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from planner.plan import Verification
from planner.report import words
from planner.report.blocks import Wrapped, notes
from planner.report.format import gib, seconds
from planner.report.table import Column, table_lines

DECIMALS = 2


@dataclass(frozen=True, slots=True)
class VerifyReport:
    result: Verification

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        result = self.result
        yield Wrapped(words.subject(result.request), "bold", indent=0)
        yield Wrapped(words.strategy(result.plan.strategy, result.plan.data_parallel_size), indent=0)
        yield ""
        verdict, style = ("fits", "green") if result.fits else ("does not fit", "red")
        budget = gib(result.plan.memory.budget_bytes, DECIMALS)
        yield Text.assemble(
            "  the replay ", (verdict, f"bold {style}"), f": {gib(result.process_bytes, DECIMALS)} of {budget} GiB"
        )
        yield ""
        rows = [(name, p.replay_bytes, p.model_bytes) for name, p in result.phases.items()]
        memory = result.plan.memory
        rows += [
            ("allocated, whole blocks", result.allocated_bytes, memory.allocated_bytes),
            ("reserved", result.reserved_bytes, memory.reserved_bytes),
            ("process", result.process_bytes, memory.process_bytes),
        ]
        heading, lines = table_lines(
            [
                Column("peaks, GiB", [name for name, _, _ in rows]),
                Column("replay", [gib(replayed, DECIMALS) for _, replayed, _ in rows], right=True),
                Column("model", [gib(modelled, DECIMALS) for _, _, modelled in rows], right=True),
                Column("difference", [f"{modelled / replayed - 1:+.2%}" for _, replayed, modelled in rows], right=True),
            ]
        )
        yield from (heading, *lines)
        yield ""
        yield Wrapped(f"two steps of the real model replayed on fake tensors in {seconds(result.seconds)}")
        yield from notes(result.notes)
