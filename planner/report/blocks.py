"""Parts that several reports have: wrapped text, the filled GPU as a bar, notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from planner.records.plan import Memory
from planner.report.bars import legend, stacked
from planner.report.categories import FREE, category_bytes
from planner.report.format import gib, percent
from planner.report.table import GAP, INDENT, Column

_WIDEST = 120
"""Bars and lines of text get no longer than this on wide terminals."""


def usable_width(options: ConsoleOptions) -> int:
    return min(options.max_width, _WIDEST)


@dataclass(frozen=True, slots=True)
class Wrapped:
    """Text that wraps behind its indent, or behind its prefix."""

    text: str | Text
    style: str = ""
    indent: int = INDENT
    prefix: str | Text = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = Text(self.text, self.style) if isinstance(self.text, str) else self.text
        prefix = Text(self.prefix, self.style) if isinstance(self.prefix, str) else self.prefix
        room = max(1, usable_width(options) - self.indent - prefix.cell_len)
        for i, line in enumerate(text.wrap(console, room)):
            line.rstrip()
            before = " " * prefix.cell_len if i else prefix
            yield Text.assemble(" " * self.indent, before, line, no_wrap=True, overflow="ignore")


def notes(texts: Iterable[str]) -> Iterator[Wrapped | str]:
    for i, text in enumerate(texts):
        if i == 0:
            yield ""
        yield Wrapped(text, prefix=Text("note: ", "bold"))


def fields(pairs: Sequence[tuple[str, str]]) -> Iterator[Wrapped]:
    """`name   value` lines; a long value goes on below its beginning."""
    names = Column("", [name for name, _ in pairs])
    for name, value in pairs:
        yield Wrapped(value or "-", prefix=Text(names.padded(name) + " " * GAP, "dim"))


def free_share(memory: Memory) -> str:
    """What of the budget is left, in percent."""
    return percent(1 - memory.process_bytes / memory.budget_bytes if memory.budget_bytes else 0)


def of_budget(memory: Memory) -> str:
    return f"{gib(memory.process_bytes)} of {gib(memory.budget_bytes)} GiB"


@dataclass(frozen=True, slots=True)
class Filling:
    """What fills one GPU, as a bar of the budget and a legend. If it is too much, the bar is as long as what is needed,
    and the line below it marks where the budget ends."""

    memory: Memory
    with_legend: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = usable_width(options) - 2 * INDENT
        over = self.memory.process_bytes > self.memory.budget_bytes
        parts = category_bytes(self.memory.components)
        if self.memory.process_bytes < self.memory.budget_bytes:
            parts.append((FREE, self.memory.budget_bytes - self.memory.process_bytes))
        yield _indented(stacked(parts, width, ascii_only=options.ascii_only))
        if over:
            yield _indented(self._budget_mark(width))
        if self.with_legend:
            yield from map(_indented, legend(parts, width, ascii_only=options.ascii_only))

    def _budget_mark(self, width: int) -> Text:
        cells = self.memory.budget_bytes * width // self.memory.process_bytes
        label = "the budget ends here"
        if cells > len(label):
            return Text(f"{label} ^".rjust(cells), style="bold")
        return Text(" " * max(0, cells - 1) + f"^ {label}", style="bold")


def _indented(line: Text) -> Text:
    return Text.assemble(" " * INDENT, line, no_wrap=True, overflow="ignore")
