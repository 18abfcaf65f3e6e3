"""Renders a search space: every option with its values, what could be added, and the number of strategies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from planner.records.asked.described import Described
from planner.report.parts.blocks import Wrapped, fields
from planner.report.parts.format import grouped
from strategies import Option

MOST_SHOWN = 8
"""Most numbers that are listed; of a longer list, only its ends are shown."""


class SpaceReport(NamedTuple):
    """Draws a search space."""

    described: Described

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        cluster = self.described.cluster
        nodes = f"{cluster.nodes} nodes of " if cluster.nodes > 1 else ""
        yield Text(f"searched on {nodes}{cluster.gpus_per_node} x {cluster.gpu.name}", style="bold")
        yield from fields([(_spelled(option), self._values(option)) for option in self.described.options()])
        yield ""
        yield from self._counts()
        yield Wrapped(
            "* set here; the others are the defaults of this machine. In brackets: what could be added; "
            "`planner choices` says what each means.",
            "dim",
        )

    def _values(self, option: Option) -> str:
        found = self.described.values(option.name)
        parts = [f"{method}: {listed(values)}" if method else listed(values) for method, values in found.items()]
        mark = "* " if option.name in self.described.given.given() else ""
        searched = {value for values in found.values() for value in values}
        choices = option.kind if isinstance(option.kind, type) else ()
        others = [c for c in choices if c not in searched and c != option.hidden_default]
        return f"{mark}{'; '.join(parts)}{f'  [{listed(others)}]' if others else ''}"

    def _counts(self) -> Iterator[RenderableType]:
        rejected = self.described.rejected
        total = self.described.num_strategies + rejected.total()
        text = f"{grouped(total)} strategies"
        yield Wrapped(f"{text}, {grouped(self.described.num_strategies)} of them can run here" if rejected else text)
        for reason, number in rejected.most_common():
            yield Wrapped(f"{reason} ({grouped(number)})", "dim", prefix="rejected: ")


def _spelled(option: Option) -> str:
    return option.name.replace("_", "-")


def listed(values: Iterable[Any]) -> str:
    """Returns `1, 2, 4`, or the ends of a long list of numbers: `4, 5, 6 ... 255, 256 (253 values)`."""
    texts = [",".join(value) if isinstance(value, tuple) else str(value) for value in values]
    if len(texts) <= MOST_SHOWN or not all(isinstance(value, int) for value in values):
        return ", ".join(texts)
    return f"{', '.join(texts[:3])} ... {', '.join(texts[-2:])} ({len(texts)} values)"
