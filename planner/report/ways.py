"""Renders ways out: what to change, what it costs, what it makes, and the command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from planner.records.advice import Way
from planner.report.parts.blocks import Wrapped, usable_width
from planner.report.parts.format import gib, thousands
from planner.report.parts.table import INDENT

MARGIN = 3
"""Columns of a way's number, with the blank behind it."""
_LINES_AROUND = 3
"""Lines of a list of ways beside them: a blank one, the heading, and how many more there are."""
Height = Callable[..., int]
"""Returns how many lines renderables take."""
_GOES_ON = " \\"
"""What a shell takes for the end of a line, and not of the command."""


class Command(NamedTuple):
    """Draws a command that can be copied whole: a line that does not fit goes on behind a backslash."""

    text: str
    indent: int = INDENT

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        first, *others = self.text.split(" --")
        lines, indent = [first], self.indent
        for option in others:
            longer = f"{lines[-1]} --{option}"
            if indent + len(longer) + len(_GOES_ON) <= usable_width(options):
                lines[-1] = longer
            else:
                lines[-1] += _GOES_ON
                lines.append(f"  --{option}")
        for line in lines:
            yield Text(" " * indent + line, style="bold", no_wrap=True, overflow="ignore")


def way_lines(ways: Sequence[Way], heading: str = "what would fit, by what it costs") -> Iterator[RenderableType]:
    """Yields ways out below a heading, or nothing where there are none."""
    if ways:
        yield from _heading(heading)
        for number, way in enumerate(ways, start=1):
            yield from _lines(number, way)


def first_way_lines(
    ways: Sequence[Way], height: Height, room: int, *, commands: bool = True
) -> Iterator[RenderableType]:
    """Yields as many ways out as a number of lines has room for, under their numbers among all.

    The cheapest of each kind of cost come before a second one of any kind: those of a kind are often alike.

    Args:
        ways: The ways out, by what they cost.
        height: Returns how many lines something takes.
        room: Lines that there are; the first way is shown whatever it takes.
        commands: Whether each has its command.
    """
    if not ways:
        return
    numbered = list(enumerate(ways, start=1))
    cheapest = {way.cost: number for number, way in reversed(numbered)}
    numbered.sort(key=lambda one: cheapest[one[1].cost] != one[0])
    room -= _LINES_AROUND
    shown = dict(numbered[:1])
    for number, way in numbered:
        room -= height(*_lines(number, way, commands=commands))
        if room >= 0:
            shown[number] = way
    yield from _heading("what would fit, by what it costs")
    for number in sorted(shown):
        yield from _lines(number, shown[number], commands=commands)
    if len(shown) < len(ways):
        yield Wrapped(f"{len(ways) - len(shown)} more{'' if commands else ', and the commands'}: --notes", "dim")
    elif not commands:
        yield Wrapped("the commands: --notes", "dim")


def _heading(text: str) -> Iterator[RenderableType]:
    yield ""
    yield Text(" " * INDENT + text, style="bold")


def _lines(number: int, way: Way, *, commands: bool = True) -> Iterator[RenderableType]:
    """Yields one way out: what to change, what that costs and makes, and the command."""
    yield Wrapped(way.change, prefix=Text(f"{number}. ".rjust(MARGIN)))
    indent = INDENT + MARGIN
    if said := "; ".join(_said(way)):
        yield Wrapped(said, "dim", indent=indent)
    if commands:
        command = way.command or " ".join(f"--{name} {value}" for name, value in way.options.items())
        yield Command(command, indent)


def step_lines(way: Way, *, brief: bool = False) -> Iterator[RenderableType]:
    """Yields a change that would help what fits, with its command, or where to find that."""
    needs, where = f" ({way.price})" if way.price else "", ": --notes" if brief else ""
    yield Wrapped(Text.assemble(("one step more", "bold"), f", {way.change}{needs}: {way.gain}{where}"))
    if not brief:
        yield Command(way.command, INDENT + INDENT)


def _said(way: Way) -> Iterator[str]:
    """Yields what a way costs, and what it makes."""
    if way.cost is not None:
        yield f"{way.cost.value}: {way.price}" if way.price else way.cost.value
    if way.plan is not None:
        batch = f"batch {way.plan.global_batch_size:,}"
        yield f"{gib(way.plan.memory.process_bytes)} GiB, {batch}, {thousands(way.plan.time.tokens_per_second)} tok/s"
        host = way.plan.memory.host
        if host is not None and host.parameters + host.gradients + host.optimizer_states + host.activations:
            yield f"{gib(host.node_bytes)} GiB of a node's host memory"
