"""Draws parts that several reports have: wrapped text, the filled GPU as a bar, notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from planner.records.plan import HostMemory, Memory
from planner.report.parts.bars import legend, stacked
from planner.report.parts.categories import FREE, category_bytes
from planner.report.parts.format import gib, gib_parts, percent
from planner.report.parts.table import GAP, INDENT, Column

_WIDEST = 120
"""Most columns of bars and lines of text, however wide the terminal is."""


def usable_width(options: ConsoleOptions) -> int:
    """Returns the columns that bars and text may take."""
    return min(options.max_width, _WIDEST)


class Wrapped(NamedTuple):
    """Draws text that wraps after its indent, or after its prefix."""

    text: str | Text
    style: str = ""
    indent: int = INDENT
    prefix: str | Text = ""
    """Text before the first line."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = Text(self.text, self.style) if isinstance(self.text, str) else self.text
        prefix = Text(self.prefix, self.style) if isinstance(self.prefix, str) else self.prefix
        room = max(1, usable_width(options) - self.indent - prefix.cell_len)
        for i, line in enumerate(text.wrap(console, room)):
            line.rstrip()
            before = " " * prefix.cell_len if i else prefix
            yield Text.assemble(" " * self.indent, before, line, no_wrap=True, overflow="ignore")


def notes(texts: Iterable[str], *, spaced: bool = True) -> Iterator[Wrapped | str]:
    """Yields the notes, by default with a blank line before the first one."""
    for i, text in enumerate(texts):
        if i == 0 and spaced:
            yield ""
        yield Wrapped(text, prefix=Text("note: ", "bold"))


def height(console: Console, *parts: RenderableType) -> int:
    """Returns the lines that parts take below each other."""
    return sum(len(console.render_lines(part, pad=False)) for part in parts)


def first_notes(console: Console, texts: Iterable[str], room: int) -> Iterator[str]:
    """Yields the first notes, as many as a number of lines has room for."""
    for text in texts:
        room -= height(console, *notes((text,), spaced=False))
        if room < 0:
            return
        yield text


def fields(pairs: Sequence[tuple[str, str]]) -> Iterator[Wrapped]:
    """Yields lines of a name and its value; a long value goes on below its beginning."""
    names = Column("", [name for name, _ in pairs])
    for name, value in pairs:
        yield Wrapped(value or "-", prefix=Text(names.padded(name) + " " * GAP, "dim"))


def free_share(memory: Memory) -> str:
    """Returns the share of the budget that is left, in percent."""
    return percent(1 - memory.process_bytes / memory.budget_bytes if memory.budget_bytes else 0)


def of_budget(memory: Memory) -> str:
    """Returns what the process takes, of its budget, in GiB."""
    return f"{gib(memory.process_bytes)} of {gib(memory.budget_bytes)} GiB"


def on_host(memory: Memory) -> Iterator[Wrapped]:
    """Yields what the ranks of a node keep in its host memory; nothing where they keep nothing and loading fits."""
    host = memory.host
    if host is None:
        return
    kept = [(name, getattr(host, name)) for name in ("parameters", "gradients", "optimizer_states", "activations")]
    kept = [(name, num_bytes) for name, num_bytes in kept if num_bytes]
    if not kept and host.fits:
        return
    parts = zip(kept, gib_parts([num_bytes for _, num_bytes in kept]), strict=True)
    listed = ", ".join(f"{name.replace('_', ' ')} {number}" for (name, _), number in parts)
    then = ", then " if host.node_bytes == host.loading else ": "
    text = f" of a node: {of_host(host)}{then if listed else ''}{listed}"
    yield Wrapped(Text.assemble(("host memory", "bold"), text))


def of_host(host: HostMemory) -> str:
    """Returns what the ranks of a node take of its host memory, in GiB."""
    limit = f" of {gib(host.budget_bytes)}" if host.budget_bytes is not None else ""
    loads = " while the model is loaded" if host.node_bytes == host.loading else ""
    return f"{gib(host.node_bytes)}{limit} GiB{loads}"


class Filling(NamedTuple):
    """Draws what fills one GPU: a bar as long as the budget, and a legend.

    If the plan needs more than the budget, the bar is as long as what it needs, and a line below it marks where the
    budget ends.
    """

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
