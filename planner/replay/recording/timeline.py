"""Computes the live bytes of each memory category after every event of a steady step."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from planner.replay.recording.serve import categories_of
from planner.replay.recording.trace import Trace

_BLOCK = re.compile(r"\.(\d+)(?=\.|\s|$)")
"""Matches the number of a block in a tensor's name."""


class Change(NamedTuple):
    """Describes one allocation or free, and the bytes alive after it."""

    name: str
    """Name of the tensor, as in its `Label`."""
    category: str
    """Memory category of the tensor."""
    num_bytes: int
    """Bytes allocated (> 0) or freed (< 0)."""
    live: tuple[int, ...]
    """Live bytes of each category, in the order of `Timeline.categories`."""

    @property
    def total_bytes(self) -> int:
        """Live bytes of all categories together."""
        return sum(self.live)

    @property
    def block(self) -> int | None:
        """Number of the block that the tensor's name mentions; None if it mentions none."""
        return block_of(self.name)


class Span(NamedTuple):
    """Delimits consecutive changes of one phase by their indices."""

    phase: str
    start: int
    """Index of the first change."""
    end: int
    """Index after that of the last change."""


class Timeline(NamedTuple):
    """Holds the changes of the last step of a trace."""

    categories: tuple[str, ...]
    """Memory categories, in the order that was asked for."""
    changes: list[Change]
    """All changes in order; the first one changes nothing and shows what is alive when the step starts."""
    spans: list[Span]
    """The phases of the step in order, as ranges of `changes`."""

    @property
    def peak(self) -> int:
        """Index of the change after which most bytes are alive."""
        return max(range(len(self.changes)), key=lambda i: self.changes[i].total_bytes)

    def phase_at(self, number: int) -> str:
        """Returns the phase of the change with this index."""
        return next(span.phase for span in self.spans if number < span.end)


def timeline_of(trace: Trace, order: Iterable[str]) -> Timeline:
    """Computes the timeline of a trace's last step.

    Args:
        trace: The trace of a replay.
        order: Every memory category that occurs in the trace, in the order of `Timeline.categories`.
    """
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
    """Returns the number of the block in a tensor's name, or None if there is none."""
    found = _BLOCK.search(name)
    return int(found[1]) if found else None
