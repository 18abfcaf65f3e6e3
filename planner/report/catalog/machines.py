"""Renders machines of the catalog: all of them in a table, or one with all its fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from hardware import Machine
from hardware.machine import Priced
from planner.report.parts.blocks import Wrapped, fields
from planner.report.parts.format import gib, plural, usd
from planner.report.parts.table import Column, shrunk, table_lines

_EXPENDABLE = ("Gb/s", "host GiB", "read on")
"""Columns that are left out where the terminal is narrow, one after the other."""
_ABSENT = "-"
T = TypeVar("T")
_BITS = 8


class MachineList(NamedTuple):
    """Draws a table of machines."""

    machines: Sequence[Machine]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        machines = self.machines
        columns = [
            Column("machine", [m.name for m in machines], style="bold"),
            Column("GPUs", [f"{m.gpus} x {m.gpu}" for m in machines]),
            Column(
                "host GiB", [_or_absent(m.host_memory_bytes, lambda size: gib(size, 0)) for m in machines], right=True
            ),
            Column("Gb/s", [_or_absent(m.network_bytes_per_second, _gigabits) for m in machines], right=True),
            Column("USD/h", [_or_absent(m.price_per_hour_usd, usd) for m in machines], right=True, style="cyan"),
            Column("read on", [str(m.price_date or _ABSENT) for m in machines]),
            Column("offer", [m.offer for m in machines]),
        ]
        heading, rows = table_lines(shrunk(columns, _EXPENDABLE, options.max_width))
        yield heading
        yield from rows
        unpriced = sum(m.price_per_hour_usd is None for m in machines)
        missing = f", {unpriced} without a known price" if unpriced else ""
        yield Wrapped(f"{plural(len(machines), 'machine')}{missing}; prices are those of their day", "dim")


class MachineCard(NamedTuple):
    """Draws everything that is known about one machine."""

    machine: Machine

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.machine.name, style="bold")
        yield from fields(list(self._rows()))

    def _rows(self) -> Iterator[tuple[str, str]]:
        machine = self.machine
        yield "also called", ", ".join(machine.aliases)
        yield "offer", machine.offer
        yield "GPUs", f"{machine.gpus} x {machine.gpu}"
        memory, network = machine.host_memory_bytes, machine.network_bytes_per_second
        yield "host memory", "not known: what is usual with its GPUs" if memory is None else f"{gib(memory)} GiB"
        yield "network", "not known: that of its GPUs" if network is None else f"{_gigabits(network)} Gb/s"
        yield "price", price_of(machine)
        yield "source", machine.source


def price_of(priced: Priced) -> str:
    """Returns the price of an hour with its day and source, or says that none is known."""
    if priced.price_per_hour_usd is None:
        return "not known"
    day = f"on {priced.price_date}" if priced.price_date else "undated"
    source = f": {priced.price_source}" if priced.price_source else ""
    return f"{usd(priced.price_per_hour_usd)} USD per hour, {day}{source}"


def _gigabits(bytes_per_second: float) -> str:
    return f"{bytes_per_second * _BITS / 1e9:,.0f}"


def _or_absent(value: T | None, written: Callable[[T], str]) -> str:
    return _ABSENT if value is None else written(value)
