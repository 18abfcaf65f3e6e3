"""Renders why nothing fits: the smallest plan, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from planner.records.advice import Shortfall
from planner.records.plan import Memory
from planner.records.result import FitResult
from planner.report.parts import words
from planner.report.parts.blocks import Filling, Wrapped, of_host, on_host
from planner.report.parts.format import gib, gib_difference
from planner.report.parts.table import INDENT


def shortfall_lines(result: FitResult) -> Iterator[RenderableType]:
    """Yields the smallest plan and what it lacks, of a result without plans."""
    shortfall = result.shortfall
    if shortfall is None:
        tried = result.searched.trials is not None
        what = "No strategy that was tried fits." if tried else "Nothing can run: every strategy was rejected."
        yield Text(what, style="bold red")
        return
    yield _verdict(shortfall.smallest.memory)
    yield ""
    yield from _smallest(shortfall)


def _verdict(memory: Memory) -> Wrapped:
    needed, budget = gib(memory.process_bytes), gib(memory.budget_bytes)
    if memory.fits:
        text = f" with the batch sizes asked for. The smallest plan would: {needed} of {budget} GiB."
    elif memory.process_bytes <= memory.budget_bytes and memory.host is not None:
        text = f" into the node's host memory: the smallest plan takes {of_host(memory.host)}."
    else:
        over = gib_difference(memory.process_bytes, memory.budget_bytes)
        text = f": {needed} GiB are needed at least, {over} GiB more than the budget of {budget} GiB."
    return Wrapped(Text.assemble(("Nothing fits", "bold red"), text), indent=0)


def _smallest(shortfall: Shortfall) -> Iterator[RenderableType]:
    plan = shortfall.smallest
    yield Text(" " * INDENT + "the smallest plan found", style="bold")
    yield Wrapped(words.strategy(plan.strategy, plan.data_parallel_size))
    yield Wrapped(
        f"{words.spelled_batch(words.batch_numbers(plan))} (micro x accum x ranks = batch); "
        f"peak: {words.moment(shortfall.moment)}, most of it {words.moment(shortfall.term)}"
    )
    yield Filling(plan.memory)
    yield from on_host(plan.memory)
