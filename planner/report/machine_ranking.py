"""Renders the answer of `fit_machines`: machines with the best plan of each, best first, and the command to go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from planner.records.machines import MachinePlan, MachineRanking
from planner.records.plan import Plan
from planner.report.parts import words
from planner.report.parts.blocks import Wrapped, notes
from planner.report.parts.format import count, gib, plural, thousands, total_usd, usd
from planner.report.parts.table import Column, shrunk, table_lines
from planner.report.ways import Command

_EXPENDABLE = ("micro x accum x ranks", "ckpt", "GiB", "precision")
"""Columns that are left out where the terminal is narrow, one after the other."""
_UNKNOWN = "-"
SECONDS_PER_HOUR = 3600


class MachineRankingReport(NamedTuple):
    """Draws the machines on which something fits."""

    result: MachineRanking

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        result, request = self.result, self.result.request
        yield Wrapped(f"{request.model}, {count(request.num_parameters)} parameters", "bold", indent=0)
        yield Wrapped(words.workload(request, None), indent=0)
        yield ""
        if result.machines:
            yield from self._table(options.max_width)
        else:
            yield Wrapped(self._nothing, "bold")
        yield from notes(result.notes)
        yield ""
        refused = "".join(f"; {reason} ({number})" for reason, number in {**result.refused, **result.exceeding}.items())
        yield Wrapped(f"{result.fitting} of {plural(result.asked, 'machine')} fit{refused}", "dim")
        yield from self._commands()

    @property
    def _nothing(self) -> str:
        """Returns why there is no machine, and what to ask for instead."""
        machines = plural(self.result.asked, "machine")
        if not self.result.exceeding:
            return f"Nothing fits on any of {machines}."
        instead = "--gpu machines has those of several GPUs, --gpus 8 or --nodes 2 asks for more"
        return f"No run on any of {machines} is within the deadline and the budget: {instead}."

    @property
    def _rows(self) -> list[tuple[str, MachinePlan]]:
        """Returns numbers and machines of the table: the best ones, then those with a mark that are not among them."""
        result = self.result
        rows = [(str(number), machine) for number, machine in enumerate(result.machines, start=1)]
        for machine in (result.smallest, result.fastest, result.cheapest):
            if machine is not None and all(machine != shown for _, shown in rows):
                rows.append((_UNKNOWN, machine))
        return rows

    def _table(self, width: int) -> Iterator[RenderableType]:
        rows = self._rows
        machines = [machine for _, machine in rows]
        plans = [machine.plan for machine in machines]
        batches = [words.spelled_batch(words.batch_numbers(plan)).partition(" = ")[0] for plan in plans]
        columns = [
            Column("#", [number for number, _ in rows], right=True),
            Column("machine", [machine.where for machine in machines], style="bold"),
            Column("method", [words.method(plan.strategy).partition(",")[0] for plan in plans]),
            Column("precision", [str(plan.strategy.precision) for plan in plans]),
            Column("ckpt", [str(plan.strategy.checkpointing) for plan in plans]),
            Column("micro x accum x ranks", batches, right=True),
            Column("batch", [f"{plan.global_batch_size:,}" for plan in plans], right=True),
            Column("GiB", [gib(plan.memory.process_bytes) for plan in plans], right=True),
            Column("tok/s", [thousands(plan.time.tokens_per_second) for plan in plans], right=True, style="cyan"),
            Column("USD/h", [_price(machine.price_per_hour_usd) for machine in machines], right=True),
            *_costs(plans),
            Column("", [self._marks(machine) for machine in machines], style="green"),
        ]
        heading, lines = table_lines(shrunk(columns, _EXPENDABLE, width))
        yield heading
        yield from lines

    def _marks(self, machine: MachinePlan) -> str:
        result = self.result
        marked = {"smallest": result.smallest, "fastest": result.fastest, "cheapest": result.cheapest}
        return ", ".join(name for name, which in marked.items() if which == machine)

    def _commands(self) -> Iterator[RenderableType]:
        for machine in self.result.machines[:1]:
            yield Command(machine.command)


def _costs(plans: Sequence[Plan]) -> list[Column]:
    """Returns the columns of what a run takes, or else of the price of tokens."""
    runs = [plan.run for plan in plans if plan.run is not None]
    if len(runs) < len(plans):
        return [Column("USD/Mtok", [_price(plan.usd_per_million_tokens) for plan in plans], right=True)]
    return [
        Column("hours", [f"{run.seconds / SECONDS_PER_HOUR:,.1f}" for run in runs], right=True),
        Column("USD", [_total(run.usd) for run in runs], right=True, style="cyan"),
    ]


def _total(dollars: float | None) -> str:
    return _UNKNOWN if dollars is None else total_usd(dollars)


def _price(dollars: float | None) -> str:
    return _UNKNOWN if dollars is None else usd(dollars)
