"""Renders the answer of `compare`: a plan a column, a line for each thing that may differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult

from planner.records.comparison import Compared, Comparison
from planner.records.plan import Components
from planner.report.parts import words
from planner.report.parts.beside import beside
from planner.report.parts.blocks import Wrapped, free_share
from planner.report.parts.format import gib, grouped, rounded_percent, seconds, usd
from planner.report.parts.table import Column
from strategies import AXES

_UNKNOWN = "-"


def _axis(name: str) -> Callable[[Compared], str]:
    return lambda column: (
        words.method(column.plan.strategy) if name == "finetuning" else words.axis(column.plan.strategy, name)
    )


def _component(name: str) -> Callable[[Compared], str]:
    return lambda column: gib(getattr(column.plan.memory.components, name))


def _host(column: Compared) -> str:
    host = column.plan.memory.host
    return _UNKNOWN if host is None else gib(host.node_bytes)


def _utilization(column: Compared) -> str:
    share = column.plan.time.model_flops_utilization
    return _UNKNOWN if share is None else rounded_percent(share)


def _cost(column: Compared) -> str:
    cost = column.plan.usd_per_million_tokens
    return _UNKNOWN if cost is None else usd(cost)


def _tokens(column: Compared) -> str:
    source, target = column.request.sequence_length, column.request.target_length
    return grouped(source) if target is None else f"{grouped(source)}, target {grouped(target)}"


_LINES: dict[str, Callable[[Compared], str]] = {
    "model": lambda c: c.request.model,
    "on": lambda c: c.request.machine or c.request.where,
    "tokens": _tokens,
    **{name: _axis(name) for name in AXES},
    "batch": lambda c: words.spelled_batch(words.batch_numbers(c.plan)),
    "fits": lambda c: "yes" if c.plan.memory.fits else "NO",
    "GiB of one GPU": lambda c: gib(c.plan.memory.process_bytes),
    "budget GiB": lambda c: gib(c.plan.memory.budget_bytes),
    "free": lambda c: free_share(c.plan.memory),
    "peak": lambda c: words.moment(c.plan.memory.moment),
    **{f"  {name.replace('_', ' ')}": _component(name) for name in Components.model_fields},
    "host GiB of a node": _host,
    "step": lambda c: seconds(c.plan.time.step_seconds),
    "tokens/s": lambda c: grouped(c.plan.time.tokens_per_second),
    "model FLOPs used": _utilization,
    "USD per Mtok": _cost,
}
"""What a line says of a plan, by its name."""


class ComparisonReport(NamedTuple):
    """Draws plans side by side: first the lines that differ, then what all have in common."""

    result: Comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = self.result.columns
        cells = {name: [said(column) for column in columns] for name, said in _LINES.items()}
        named = all(where in column.title for where, column in zip(cells["on"], columns, strict=True))
        differing = [name for name, values in cells.items() if len(set(values)) > 1 and not (named and name == "on")]
        names = Column("", differing, style="dim")
        shown = [Column(c.title, [cells[name][i] for name in differing], True) for i, c in enumerate(columns)]
        yield from beside(names, shown, options.max_width)
        same = [
            f"{name.strip()} {values[0]}"
            for name, values in cells.items()
            if len(set(values)) == 1 and values[0] not in ("", "0.0")
        ]
        yield Wrapped(f"all: {', '.join(same)}", "dim")
        if not self.result.fits:
            lacking = [column.title for column in columns if not column.plan.memory.fits]
            yield Wrapped(f"does not fit: {', '.join(lacking)}", "bold red")
