"""Reads results off a trace: bytes allocated and reserved on a GPU, and the tensors that are alive at the peak."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from planner.allocator.native import CachingAllocator, OutOfMemoryError
from planner.allocator.streamed import StreamedAllocator
from planner.allocator.streams import Stream
from planner.replay.recording.trace import Phase, Trace

_NUMBER = re.compile(r"\.\d+(?=\.|\s|$)")
"""Matches the number of a block in a tensor's name."""


class Served(NamedTuple):
    """Holds the peaks that an allocator reaches while it serves a trace from the start of the process."""

    allocated_bytes: int
    """Largest bytes in allocated blocks, as `torch.cuda.max_memory_allocated` counts them."""
    reserved_bytes: int
    """Largest bytes in segments, as `torch.cuda.max_memory_reserved` counts them."""
    retries: int
    """How often the allocator had to return cached segments to serve a request."""
    fits: bool
    """Whether every request could be served within the allocator's limit."""
    phases: Mapping[Phase, tuple[int, int]]
    """(allocated, reserved) peak bytes of loading and of each phase of the last step."""


def serve(trace: Trace, allocator: CachingAllocator) -> Served:
    """Serves the requests of a trace until its end, or until the section with a request that does not fit.

    Args:
        trace: The trace of a replay.
        allocator: A fresh allocator with the limit to serve the trace within.
    """
    server: CachingAllocator | StreamedAllocator = allocator
    labels = trace.labels.items()
    if any(label.stream is not Stream.COMPUTE for _, label in labels):
        alone = Stream.COMPUTE, False
        server = StreamedAllocator(allocator, {number: label[2:] for number, label in labels if label[2:] != alone})
    allocated = reserved = 0
    phases: dict[Phase, tuple[int, int]] = {}
    fits = True
    for phase, step, events in trace.sections:
        server.reset_peaks()
        if phase is Phase.FORWARD and isinstance(server, StreamedAllocator):
            server.catch_up()  # Trainer looks whether the loss is NaN after each backward (`_run_epoch`)
        try:
            server.run((storage, size) for storage, size, _ in events)
        except OutOfMemoryError:
            fits = False
        peaks = server.peak_allocated, server.peak_reserved
        allocated, reserved = max(allocated, peaks[0]), max(reserved, peaks[1])
        if step in (0, trace.last_step):
            before = phases.get(phase, (0, 0))
            phases[phase] = max(before[0], peaks[0]), max(before[1], peaks[1])
        if not fits:
            break
    return Served(allocated, reserved, server.retries, fits, phases)


class Alive(NamedTuple):
    """Groups the tensors of one category and name that are alive at the same time."""

    category: str
    name: str
    """Name that the tensors have in common, with `*` for the number of the block."""
    tensors: int
    """Number of tensors in the group."""
    num_bytes: int
    """Bytes of all tensors of the group together."""


def alive_at_peak(trace: Trace) -> tuple[Phase, list[Alive]]:
    """Returns the phase in which the last step peaks, and the groups of tensors alive then, largest first."""
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
    """Returns the phase and the number of the event of the last step after which most bytes are alive.

    Events are numbered from 0 over the whole trace.
    """
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
    """Returns the memory category of every storage, by its number.

    A storage whose label has no category is an activation if a forward pass allocates it and the backward pass of the
    same step frees it; otherwise it is temporary.
    """
    made: dict[int, tuple[Phase, int]] = {}
    categories = {storage: label.category or "temporary" for storage, label in trace.labels.items()}
    for section in trace.sections:
        for storage, size, _ in section.events:
            if size > 0:
                made[storage] = section.phase, section.step
            elif section.phase is Phase.BACKWARD and made.get(storage) == (Phase.FORWARD, section.step):
                categories[storage] = trace.labels[storage].category or "activations"
    return categories
