"""Renders the answer of `sweep`: on one machine a model a line, on several what is smallest, fastest and cheapest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from hardware import GIB
from planner.records.sweep import SweepResult, SweepRow
from planner.report.parts.blocks import Wrapped
from planner.report.parts.format import count, gib, grouped, plural, seconds, thousands
from planner.report.parts.table import Column, shrunk, table_lines

_ABSENT = "-"
_EXPENDABLE = ("size", "fit on")
"""Columns that are left out where the terminal is narrow, one after the other."""


class SweepReport(NamedTuple):
    """Draws the rows of a sweep."""

    result: SweepResult
    file: str | None = None
    """Name of the file that holds all rows."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        result = self.result
        planned = [row for row in result.rows if row.machine is not None]
        machines = {(row.machine, row.gpus, row.nodes) for row in planned}
        if planned:
            columns = self._of_one(planned) if len(machines) == 1 else self._of_several(planned)
            heading, lines = table_lines(shrunk(columns, _EXPENDABLE, options.max_width))
            yield heading
            yield from lines
            if len(machines) == 1:
                yield Wrapped("effective batch, GiB of one GPU, tokens/s", "dim")
        for row in result.rows:
            if row.machine is None:
                yield Wrapped(f"{row.model}: {row.reason}", "yellow")
        fitting, asked = sum(row.fits for row in result.rows), len(result.rows)
        again = f", {grouped(result.reused)} of them from the file" if result.reused else ""
        text = f"{grouped(fitting)} of {plural(asked, 'combination')} fit, in {seconds(result.seconds)}{again}"
        yield Wrapped(f"{text}; all rows: {self.file}" if self.file else text, "dim")
        if len(machines) == 1:
            yield from self._largest(planned)

    def _of_one(self, rows: Sequence[SweepRow]) -> list[Column]:
        """Returns a line for each model and length, the largest model first, with a column for each method."""
        cells = {(row.model, row.sequence_length, row.method): _cell(row) for row in rows}
        lines = sorted(
            {(row.model, row.sequence_length): row for row in rows}.items(), key=lambda item: -(item[1].parameters or 0)
        )
        methods = list(dict.fromkeys(row.method for row in rows if row.method))
        return [
            Column("model", [model for (model, _), _ in lines], style="bold"),
            Column("size", [count(row.parameters or 0) for _, row in lines], right=True),
            Column("tokens", [grouped(length or 0) for (_, length), _ in lines], right=True),
            *(
                Column(method, [cells.get((*key, method), _ABSENT) for key, _ in lines], right=True)
                for method in methods
            ),
        ]

    def _largest(self, rows: Sequence[SweepRow]) -> Iterator[RenderableType]:
        """Yields the largest model of each method."""
        largest = []
        for method in dict.fromkeys(row.method for row in rows if row.method):
            fitting = [row for row in rows if row.fits and row.method == method]
            best = max(fitting, key=lambda row: row.parameters or 0, default=None)
            largest.append(f"{method} {best.model if best else 'none'}")
        yield Wrapped(f"largest that fits on {rows[0].where}: {', '.join(largest)}", "bold")

    def _of_several(self, rows: Sequence[SweepRow]) -> list[Column]:
        """Returns a line for each model, length and method, with the machines that stand out."""
        groups: dict[tuple[object, ...], list[SweepRow]] = {}
        for row in rows:
            groups.setdefault((row.model, row.sequence_length, row.method), []).append(row)
        lines = [(group, [row for row in found if row.fits]) for group, found in groups.items()]
        return [
            Column("model", [str(model) for (model, _, _), _ in lines], style="bold"),
            Column("tokens", [f"{length:,}" for (_, length, _), _ in lines], right=True),
            Column("method", [str(method) for (_, _, method), _ in lines]),
            Column("fit on", [f"{len(fit)} of {len(groups[key])}" for key, fit in lines], right=True),
            Column("smallest", [_best(fit, _by_size) for _, fit in lines]),
            Column("fastest", [_best(fit, _by_speed) for _, fit in lines]),
            Column("cheapest", [_best([r for r in fit if r.usd_per_million_tokens], _by_cost) for _, fit in lines]),
        ]


def _cell(row: SweepRow) -> str:
    if not row.fits:
        return _ABSENT
    batch, speed = grouped(row.global_batch_size or 0), thousands(row.tokens_per_second or 0)
    return f"{batch}  {gib(row.process_bytes or 0)}  {speed.rjust(5)}"


def _by_size(row: SweepRow) -> tuple[float, ...]:
    """Returns a key that sorts by memory of all GPUs, in whole GiB of each, then by price."""
    return row.size * round((row.budget_bytes or 0) / GIB), row.usd_per_hour or inf


def _by_speed(row: SweepRow) -> tuple[float, ...]:
    return (-(row.tokens_per_second or 0),)


def _by_cost(row: SweepRow) -> tuple[float, ...]:
    return (row.usd_per_million_tokens or inf,)


def _best(rows: Sequence[SweepRow], key: Callable[[SweepRow], tuple[float, ...]]) -> str:
    return min(rows, key=key).where if rows else _ABSENT
