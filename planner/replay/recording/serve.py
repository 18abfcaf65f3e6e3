"""What a trace says: bytes reserved and blocks allocated on a GPU, and which tensors are alive at the peak."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from planner.replay.allocator.expandable import ExpandableAllocator
from planner.replay.allocator.native import CachingAllocator, OutOfMemoryError
from planner.replay.recording.trace import Phase, Trace
from strategies import Allocator

_NUMBER = re.compile(r"\.\d+(?=\.|\s|$)")


KINDS: Mapping[Allocator, type[CachingAllocator]] = {
    Allocator.NATIVE: CachingAllocator,
    Allocator.EXPANDABLE: ExpandableAllocator,
}


class Served(NamedTuple):
    """A trace as an allocator serves it, from the process's start. Bytes are the largest at any time."""

    allocated_bytes: int
    """In whole blocks, as `torch.cuda.max_memory_allocated` counts."""
    reserved_bytes: int
    retries: int
    """How often cached segments had to be given back."""
    fits: bool
    phases: Mapping[Phase, tuple[int, int]]
    """Allocated and reserved, the largest in each phase of the last step; loading has none before it."""


def serve(trace: Trace, allocator: CachingAllocator) -> Served:
    allocated = reserved = 0
    phases: dict[Phase, tuple[int, int]] = {}
    fits = True
    for phase, step, events in trace.sections:
        allocator.reset_peaks()
        try:
            allocator.run((storage, size) for storage, size, _ in events)
        except OutOfMemoryError:
            fits = False
        peaks = allocator.peak_allocated, allocator.peak_reserved
        allocated, reserved = max(allocated, peaks[0]), max(reserved, peaks[1])
        if step in (0, trace.last_step):
            before = phases.get(phase, (0, 0))
            phases[phase] = max(before[0], peaks[0]), max(before[1], peaks[1])
        if not fits:
            break
    return Served(allocated, reserved, allocator.retries, fits, phases)


class Alive(NamedTuple):
    """Tensors of one kind that are alive at once. `name`: block numbers are `*`."""

    category: str
    name: str
    tensors: int
    num_bytes: int


def alive_at_peak(trace: Trace) -> tuple[Phase, list[Alive]]:
    """In which phase the last step's peak is, and what is alive then, largest first."""
    phase, at = _peak(trace)
    categories, live = categories_of(trace), dict[int, int]()
    for i, (storage, size, _) in enumerate(trace.events()):
        if size > 0:
            live[storage] = size
        else:
            live.pop(storage, None)
        if i == at:
            break
    groups: dict[tuple[str, str], list[int]] = {}
    for storage, size in live.items():
        name = _NUMBER.sub(".*", trace.labels[storage].name)
        groups.setdefault((categories[storage], name), []).append(size)
    found = [Alive(category, name, len(sizes), sum(sizes)) for (category, name), sizes in groups.items()]
    return phase, sorted(found, key=lambda alive: -alive.num_bytes)


def _peak(trace: Trace) -> tuple[Phase, int]:
    """Phase and number of the event after which most bytes of the last step are alive."""
    now = most = number = at = 0
    phase = Phase.FORWARD
    for section in trace.sections:
        for _, size, _ in section.events:
            now += size
            if section.step == trace.last_step and now > most:
                most, at, phase = now, number, section.phase
            number += 1
    return phase, at


def categories_of(trace: Trace) -> Mapping[int, str]:
    """The memory category of every storage. Without one of its own, what forward makes and backward frees is an
    activation, everything else temporary."""
    made: dict[int, tuple[Phase, int]] = {}
    categories = {storage: label.category or "temporary" for storage, label in trace.labels.items()}
    for section in trace.sections:
        for storage, size, _ in section.events:
            if size > 0:
                made[storage] = section.phase, section.step
            elif section.phase is Phase.BACKWARD and made.get(storage) == (Phase.FORWARD, section.step):
                categories[storage] = trace.labels[storage].category or "activations"
    return categories
