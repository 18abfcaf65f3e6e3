"""What is alive after every event of a steady step, by memory category."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from planner.replay.recording.serve import categories_of
from planner.replay.recording.trace import Trace

_BLOCK = re.compile(r"\.(\d+)(?=\.|\s|$)")


class Change(NamedTuple):
    """One allocation or free, and what is alive after it."""

    name: str
    """Of the tensor; as `Label` names it."""
    category: str
    num_bytes: int
    """Allocated (> 0) or freed (< 0)."""
    live: tuple[int, ...]
    """Bytes of each category, in the order of `Timeline.categories`."""

    @property
    def total_bytes(self) -> int:
        return sum(self.live)

    @property
    def block(self) -> int | None:
        return block_of(self.name)


class Span(NamedTuple):
    """Consecutive changes in one phase: `start` is the first, `end` the one after the last."""

    phase: str
    start: int
    end: int


class Timeline(NamedTuple):
    """The last step of a trace. Its first change is none: what is alive when the step starts."""

    categories: tuple[str, ...]
    changes: list[Change]
    spans: list[Span]

    @property
    def peak(self) -> int:
        """The number of the change after which most bytes are alive."""
        return max(range(len(self.changes)), key=lambda i: self.changes[i].total_bytes)

    def phase_at(self, number: int) -> str:
        return next(span.phase for span in self.spans if number < span.end)


def timeline_of(trace: Trace, order: Iterable[str]) -> Timeline:
    """`order`: of the categories, all that there are."""
    categories, live = categories_of(trace), dict.fromkeys(order, 0)
    changes, spans = list[Change](), list[Span]()
    for section in trace.sections:
        last = section.step == trace.last_step
        start = len(changes)
        if last and not changes:
            changes.append(Change("", "", 0, tuple(live.values())))
        for storage, size, _ in section.events:
            live[categories[storage]] += size
            if last:
                change = Change(trace.labels[storage].name, categories[storage], size, tuple(live.values()))
                changes.append(change)
        if len(changes) > start:
            spans.append(Span(section.phase.value, start, len(changes)))
    return Timeline(tuple(live), changes, spans)


def block_of(name: str) -> int | None:
    """The number of the block that a tensor's name says."""
    found = _BLOCK.search(name)
    return int(found[1]) if found else None
