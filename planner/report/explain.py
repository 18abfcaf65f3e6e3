"""The answer of `explain`: what each part saves for backward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from planner.records.explanation import Explanation, SavedTensor, SavingPart
from planner.report.parts import words
from planner.report.parts.blocks import Wrapped
from planner.report.parts.format import gib, mib, plural
from planner.report.parts.table import Column, table_lines


@dataclass(frozen=True, slots=True)
class ExplainReport:
    """Draws an explanation: a table for each part."""

    result: Explanation

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        result, plan = self.result, self.result.plan
        size = plan.micro_batch_size
        yield Wrapped(words.subject(result.request), "bold", indent=0)
        yield Wrapped(words.strategy(plan.strategy, plan.data_parallel_size), indent=0)
        samples = plural(size, "sample")
        yield Wrapped(f"{samples} of {plural(result.request.sequence_length, 'token')} per micro-batch", indent=0)
        for part in result.parts:
            yield ""
            yield from self._table(part, size)
        total = sum(part.count * part.saved_bytes(size) for part in result.parts)
        yield ""
        peak = gib(plan.memory.allocated_bytes, 2)
        yield Wrapped(f"saved for backward in all: {gib(total, 2)} GiB; allocated at the peak: {peak} GiB")
        yield Wrapped(f"as a plan it {plan.memory.verdict}")

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
