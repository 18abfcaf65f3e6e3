"""Renders what choices mean: every option of a technique with its values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from planner.report.parts.blocks import Wrapped, fields
from planner.report.parts.words import values_of
from strategies import Option


class ChoicesReport(NamedTuple):
    """Draws options, each with its choices and their meaning."""

    options: Sequence[Option]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, option in enumerate(self.options):
            if number:
                yield ""
            yield from _drawn(option)


def _drawn(option: Option) -> Iterator[RenderableType]:
    yield Text(f"--{option.name.replace('_', '-')}", style="bold")
    if option.help:
        yield Wrapped(option.help)
    kind = option.kind
    if isinstance(kind, type):
        yield from fields([*((choice.value, choice.summary) for choice in kind), *kind.aliases().items()])
    else:
        yield Wrapped(values_of(kind))
    for name, owners in option.owners().items():
        yield Wrapped(f"with {name.replace('_', '-')} {', '.join(owners)}", "dim")
