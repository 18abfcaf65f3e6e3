"""Renders the answer of `explain`: the peak, what is saved for backward, and what other choices would save or cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from planner.records.explanation import Explanation, OneMore, SavedTensor, SavingPart
from planner.report.parts import words
from planner.report.parts.blocks import Filling, Wrapped
from planner.report.parts.format import gib, mib, plural
from planner.report.parts.table import Column, table_lines

SHOWN = 12
"""Most groups of saved tensors that are shown; `--json` has all."""


class ExplainReport(NamedTuple):
    """Draws an explanation: the peak, what is saved for backward, and one step along each axis."""

    result: Explanation
    saved: bool = False
    """Whether a table of each part's tensors is drawn instead."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        result, plan = self.result, self.result.plan
        size = plan.micro_batch_size
        yield Wrapped(words.subject(result.request), "bold", indent=0)
        yield Wrapped(words.strategy(plan.strategy, plan.data_parallel_size), indent=0)
        samples = plural(size, "sample")
        yield Wrapped(f"{samples} of {words.lengths(result.request)} per micro-batch", indent=0)
        yield ""
        if self.saved:
            for part in result.parts:
                yield from self._table(part, size)
                yield ""
        else:
            yield from self._peak()
            yield from self._groups()
        total = sum(part.count * part.saved_bytes(size) for part in result.parts)
        peak = gib(plan.memory.allocated_bytes, 2)
        yield Wrapped(f"saved for backward in all: {gib(total, 2)} GiB; allocated at the peak: {peak} GiB")
        yield Wrapped(f"as a plan it {plan.memory.verdict}")
        if result.one_more is not None:
            yield Wrapped(_stop(result.one_more, size))
        if not self.saved:
            yield from self._steps()

    def _peak(self) -> Iterator[RenderableType]:
        memory = self.result.plan.memory
        yield Wrapped(f"the peak is at {words.moment(memory.moment)}")
        yield Filling(memory)
        yield ""

    def _groups(self) -> Iterator[RenderableType]:
        """Lists the largest groups of tensors that are saved for backward."""
        groups = self.result.groups[:SHOWN]
        if not groups:
            return
        rest = sum(group.num_bytes for group in self.result.groups[SHOWN:])
        names, formulas = [group.name for group in groups], [group.formula for group in groups]
        sizes = [gib(group.num_bytes, 2) for group in groups]
        if rest:
            names, formulas, sizes = [*names, "others"], [*formulas, ""], [*sizes, gib(rest, 2)]
        heading, lines = table_lines(
            [
                Column("saved for backward", names),
                Column("number x samples x shape x bytes", formulas),
                Column("GiB", sizes, right=True),
            ]
        )
        yield heading
        yield from lines
        yield ""

    def _steps(self) -> Iterator[RenderableType]:
        """Lists what one other choice saves or costs."""
        steps = self.result.steps
        if not steps:
            return
        heading, lines = table_lines(
            [
                Column("one step along an axis", [f"{step.option} {step.value}".replace("_", "-") for step in steps]),
                Column("GiB", [gib(step.process_bytes, 2) for step in steps], right=True),
                Column("change", [_change(step.saved_bytes) for step in steps], right=True),
                Column("time of a token", [_slower(step.relative_time) for step in steps], right=True),
                Column("", ["" if step.fits else "does not fit" for step in steps]),
            ]
        )
        yield ""
        yield heading
        yield from lines

    def _table(self, part: SavingPart, size: int) -> Iterator[Text]:
        """Lists a part's tensors; what it shares with other parts, which save it as well, is one row."""
        rows = [(t.name, _shape(t, size), _itemsize(t), mib(t.saved_bytes(size))) for t in part.tensors]
        total = part.saved_bytes(size)
        if shared := total - sum(t.saved_bytes(size) for t in part.tensors):
            rows.append(("shared with other parts", "", "", mib(shared)))
        rows.append((f"saved{' by each' if part.count > 1 else ''}", "", "", mib(total)))
        names, shapes, itemsizes, sizes = (list(column) for column in zip(*rows, strict=True))
        heading, lines = table_lines(
            [
                Column(_name(part), names),
                Column("shape", shapes),
                Column("bytes per element", itemsizes, right=True),
                Column("MiB", sizes, right=True),
            ]
        )
        yield from (heading, *lines)


def _stop(more: OneMore, size: int) -> str:
    """Says which micro-batch is the largest, and what keeps one more sample out.

    Args:
        more: What one more sample takes.
        size: The micro-batch of the configuration.
    """
    added, free = gib(more.added_bytes, 2), gib(more.free_bytes, 2)
    if added == free:
        added, free = f"{more.added_bytes:,} B", f"{more.free_bytes:,} B"
    else:
        added, free = f"{added} GiB", f"{free} GiB"
    of = " of a node's host memory" if more.on_host else ""
    moment = "" if more.on_host else f" at {words.moment(more.moment)}"
    if not more.largest:
        return f"not one sample fits: it takes {added}{of}{moment}, and {free} may be filled"
    stops = "the micro-batch stops at" if size == more.largest else "the largest micro-batch is"
    return f"{stops} {more.largest:,}: one more sample takes {added} more{of}{moment}, and {free} are left"


def _slower(relative_time: float) -> str:
    return f"{round(relative_time - 1, 3) + 0.0:+.1%}"  # + 0.0 makes of -0.0 what it is


def _change(saved_bytes: int) -> str:
    sign = "-" if saved_bytes > 0 else "+"
    return f"{sign}{gib(abs(saved_bytes), 2)}"


def _name(part: SavingPart) -> str:
    if not part.blocks:
        return part.part
    return f"{part.count} blocks: {_ranges(part.blocks)}" if part.count > 1 else f"block {part.blocks[0]}"


def _ranges(numbers: tuple[int, ...]) -> str:
    """Returns numbers with their runs as ranges: 0-3, 5, 7-9."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _shape(tensor: SavedTensor, size: int) -> str:
    if tensor.shape is None:
        return ""
    rows, columns = tensor.shape
    if rows == 1 and not tensor.bytes_per_sample:
        return f"{columns:,}"
    samples = f"{size} x " if tensor.bytes_per_sample else ""
    return f"{samples}{rows:,} x {columns:,}"


def _itemsize(tensor: SavedTensor) -> str:
    return "" if tensor.itemsize is None else str(tensor.itemsize)
