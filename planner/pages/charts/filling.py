"""Draws what fills one GPU at the peak: a bar as long as the budget, and what each part of it is."""

from __future__ import annotations

from planner.pages.charts.bars import Segment, bar, legend
from planner.records.plan import Memory
from planner.report.parts.categories import category_bytes
from planner.report.parts.format import gib, gib_parts


def filling(memory: Memory) -> str:
    """Returns the bar and its legend."""
    whole = max(memory.budget_bytes, memory.process_bytes)
    present = category_bytes(memory.components)
    free = max(0, memory.budget_bytes - memory.process_bytes)
    sizes = [num_bytes for _, num_bytes in present]
    numbers = gib_parts([*sizes, free])
    segments = [
        Segment(f"c-{category.field}", num_bytes / whole, f"{category.label} {number} GiB")
        for (category, num_bytes), number in zip(present, numbers, strict=False)
    ]
    entries = [
        (f"c-{category.field}", category.label, "<0.1" if number == gib(0) else number)
        for (category, _), number in zip(present, numbers, strict=False)
    ]
    if free:
        segments.append(Segment("c-free", free / whole, f"free {numbers[-1]} GiB"))
        entries.append(("c-free", "free", numbers[-1]))
    limit = memory.budget_bytes / whole if memory.process_bytes > memory.budget_bytes else None
    return bar(segments, limit) + legend(entries)
